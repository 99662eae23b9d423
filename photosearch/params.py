"""What a request may ask with: each endpoint's input, checked before a handler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function

from photosearch.formats import THUMBNAIL_PX
from photosearch.protocol import MAX_IDS
from photosearch.search import MAX_OFFSET, MAX_RESULTS
from photosearch.suggest import MAX_SUGGESTIONS

ID_MAX: Final = (1 << 63) - 1


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Length:
    """Of a text, in characters. Pydantic's own texts have no surrogates, which here stand for
    bytes that are no UTF-8, as names hold them."""

    least: int = 0
    most: int | None = None

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            most = "any number of" if self.most is None else self.most
            raise ValueError(f"must have {self.least} to {most} characters")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        told = {"type": "string", "minLength": self.least}
        return told if self.most is None else told | {"maxLength": self.most}


Typed = Annotated[str, Length()]  # into a search box: what is too long is cut, and that is said
Searched = Annotated[str, Length(1)]
AnyPath = Annotated[str, Length(0, 4096)]
NamedPath = Annotated[str, Length(1, 4096)]


class SearchParams(Params):
    q: Typed = Field("", description="what to look for; its first 1,000 characters are read")
    k: int = Field(60, ge=1, le=MAX_RESULTS, description="most hits to return")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="hits to leave out, for paging")
    all: bool = Field(False, description="also hits below the relevance cut-off")
    like: int | None = Field(None, ge=1, le=ID_MAX, description="more like the photo of this id")


class TypingParams(Params):
    q: Typed = Field("", description="what is typed so far")
    k: int = Field(8, ge=1, le=MAX_SUGGESTIONS, description="most suggestions to return")


class SearchedParams(Params):
    q: Searched = Field(description="a search that was meant")


class PhotoParams(Params):
    pass


class HideParams(Params):
    similar: bool = Field(False, description="with the photos it is shown for")


class PhotosParams(Params):
    # Of 18 digits at most: every one of those is an id that SQLite can hold.
    ids: str = Field(
        max_length=19 * MAX_IDS - 1,
        pattern="^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$",
        description="ids of photos, with commas between them",
    )

    @property
    def photo_ids(self) -> list[int]:
        return [int(each) for each in self.ids.split(",")]


class ThumbnailParams(Params):
    size: int = Field(THUMBNAIL_PX, ge=16, le=4096, description="longest side in pixels")


class BundleParams(Params):
    name: str = Field(min_length=1, max_length=64, description="a bundle's name")


class RetryParams(Params):
    library: int = Field(0, ge=0, le=ID_MAX, description="id of a library; 0: all of them")
    under: AnyPath = Field("", description="a file or folder in it; empty: all")


class FolderParams(Params):
    path: NamedPath = Field(description="the whole path of a folder")


class TypedParams(Params):
    path: AnyPath = Field("", description="the beginning of a folder's path")


class SettingParams(Params):
    name: str = Field(max_length=64, description="a setting, as /settings names it")
    value: int = Field(ge=0, le=1_000_000, description="0 and 1 turn a switch off and on")


class EraseParams(Params):
    confirm: Literal["delete"] = Field(
        description="the word itself, so that nothing is deleted by a slip"
    )


class NoParams(Params):
    pass
