"""The OpenAPI 3.1 schema, from the endpoint table and the models that validate."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from photosearch import __version__, protocol
from photosearch.endpoints import ENDPOINTS, Endpoint
from photosearch.guard import cookie_name
from photosearch.params import ID_MAX
from photosearch.protocol import API


def schema(port: int | None = None) -> dict[str, Any]:
    """OpenAPI 3.1, from the endpoint table, for the daemon at a port."""
    paths: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(API + endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, models
        )
    paths[f"{API}/events"] = {
        "get": {
            "summary": "Server-sent events: StatusReply whenever something changed",
            "responses": {"200": {"description": "a stream", "content": {"text/event-stream": {}}}},
        }
    }
    paths[f"{API}/openapi.json"] = {
        "get": {
            "summary": "This schema",
            "responses": {"200": {"description": "ok", "content": {"application/json": {}}}},
        }
    }
    body = _reference(protocol.LoginRequest, models)
    paths[f"{API}/login"] = {
        "post": {
            "summary": "Exchange a one-time code, or the token, for a session cookie",
            "security": [],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": _content(_reference(protocol.Done, models)),
                "default": _content(_reference(protocol.ErrorReply, models)),
            },
        }
    }
    paths["/healthz"] = _open("Whether the daemon answers, and its version", "application/json")
    paths["/"] = _open("The search bar's page", "text/html")
    return {
        "openapi": "3.1.0",
        "info": {"title": "photosearch", "version": __version__},
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": models,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie_name(port),
                    "description": "Set by login; its name ends in the port that is asked.",
                },
            },
        },
    }


def _operation(endpoint: Endpoint, models: dict[str, Any]) -> dict[str, Any]:
    made = endpoint.params.model_json_schema()
    fields, needed = made.get("properties", {}), made.get("required", [])
    parameters = [
        {"name": name, "in": "query", "required": name in needed, "schema": field}
        for name, field in fields.items()
    ]
    if "{id}" in endpoint.path:
        identity = {"type": "integer", "minimum": 1, "maximum": ID_MAX}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": identity})
    if endpoint.reply is None:
        good: dict[str, Any] = {"description": "ok", "content": {endpoint.media_type: {}}}
    else:
        good = _content(_reference(endpoint.reply, models))
    return {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {"200": good, "default": _content(_reference(protocol.ErrorReply, models))},
    }


def _open(summary: str, media_type: str) -> dict[str, Any]:
    """A path that anyone on this machine may fetch."""
    good = {"description": "ok", "content": {media_type: {}}}
    return {"get": {"summary": summary, "security": [], "responses": {"200": good}}}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "JSON", "content": {"application/json": {"schema": schema}}}


def _reference(model: Any, models: dict[str, Any]) -> dict[str, Any]:
    """A model's JSON schema; the named ones it uses go to `models`."""
    made = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
    models.update(made.pop("$defs", {}))
    return made
