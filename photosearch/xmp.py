"""XMP packets -> {property: values}. Adobe's XML inside photos; anything may have written it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

MAX_BYTES: Final = 1 << 20  # real packets have a few KiB; editors' histories some hundred

_RDF: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES: Final = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
    "http://ns.microsoft.com/photo/1.0/": "MicrosoftPhoto",
    "http://www.digikam.org/ns/1.0/": "digiKam",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
}
# An entity could name another ten times over, and that one another: no honest packet has any.
_DECLARES: Final = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)

Properties = Mapping[str, tuple[str, ...]]


def properties(packet: bytes) -> Properties:
    """Every simple property, list and alternative of known schemas, as `prefix:name`.

    Empty for a packet that is damaged, too large, or declares entities. Of texts in
    several languages the default one comes first.
    """
    packet = packet.strip(b"\0 \n\r\t")
    # Declarations are ASCII; in UTF-16 they would hide between zeros.
    if len(packet) > MAX_BYTES or _DECLARES.search(packet.replace(b"\0", b"")):
        return {}
    try:
        root = ElementTree.fromstring(packet)
    except (ElementTree.ParseError, ValueError, LookupError):  # LookupError: unknown encoding
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for description in root.iter(f"{_RDF}Description"):
        for name, value in description.attrib.items():
            if known := _known(name):
                found.setdefault(known, (value,))
        for element in description:
            known = _known(element.tag)
            values = _values(element)
            if known and values:
                found.setdefault(known, values)
    return found


def _known(name: str) -> str | None:
    namespace, _, local = name[1:].partition("}")
    prefix = _PREFIXES.get(namespace)
    return f"{prefix}:{local}" if prefix else None


def _values(element: ElementTree.Element) -> tuple[str, ...]:
    items = [
        item for kind in ("Bag", "Seq", "Alt") for item in element.findall(f"{_RDF}{kind}/{_RDF}li")
    ]
    if not items:
        return (element.text,) if element.text and element.text.strip() else ()
    items.sort(key=lambda item: item.get(_LANG) != "x-default")  # stable: else as written
    return tuple(item.text for item in items if item.text)
