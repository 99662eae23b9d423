"""Files under a passphrase: for a library's index on its way to a phone.

    0   8 bytes   magic
    8   u32       rounds of PBKDF2-HMAC-SHA-256, little-endian
    12  16 bytes  salt
    28  7 bytes   nonce prefix
    35  chunks    AES-256-GCM of 64 KiB each, 16 bytes of tag after each

The nonce of a chunk is the prefix, the chunk's number (u32, big-endian) and 1 for
the last chunk, else 0: chunks cannot be cut off, swapped or left out (the STREAM
construction, Hoang, Reyhanitabar, Rogaway and Vizar 2015). The header is every
chunk's associated data. PBKDF2 because phones have it without a library; the
cipher is that of `cryptography`, which the [encrypt] extra brings.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from photosearch.errors import BundleError, PhotosearchError

MAGIC: Final = b"PHSSEAL1"
ROUNDS: Final = 600_000  # OWASP's advice for PBKDF2-HMAC-SHA-256 (2023); 0.3 s
MAX_ROUNDS: Final = 10_000_000
CHUNK_BYTES: Final = 64 << 10
TAG_BYTES: Final = 16
HEADER: Final = struct.Struct("<8sI16s7s")
SUFFIX: Final = ".sealed"


def seal(source: Path, target: Path, passphrase: str, *, rounds: int = ROUNDS) -> None:
    """Encrypt a file into a new one."""
    header = HEADER.pack(MAGIC, rounds, os.urandom(16), os.urandom(7))
    cipher = _cipher(header, passphrase)
    prefix = header[-7:]
    with source.open("rb") as stream, target.open("xb") as out:
        out.write(header)
        for number, (chunk, last) in enumerate(_chunks(stream, CHUNK_BYTES)):
            out.write(cipher.encrypt(_nonce(prefix, number, last), chunk, header))


def unseal(source: Path, target: Path, passphrase: str) -> None:
    """Decrypt into a new file, which appears whole or not at all. BundleError for a wrong
    passphrase and for any damage."""
    part = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as stream:
            header = stream.read(HEADER.size)
            if len(header) < HEADER.size or not header.startswith(MAGIC):
                raise BundleError(f"{source}: not a sealed file of ours")
            cipher = _cipher(header, passphrase)
            with part.open("wb") as out:
                for number, (chunk, last) in enumerate(_chunks(stream, CHUNK_BYTES + TAG_BYTES)):
                    out.write(_opened(cipher, source, header, number, chunk, last=last))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _opened(
    cipher: Any, source: Path, header: bytes, number: int, chunk: bytes, *, last: bool
) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        opened: bytes = cipher.decrypt(_nonce(header[-7:], number, last), chunk, header)
        return opened
    except InvalidTag:
        where = "the passphrase is wrong, or it" if number == 0 else "it"
        raise BundleError(f"{source}: cannot be opened: {where} is damaged or cut short") from None


def _cipher(header: bytes, passphrase: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise PhotosearchError(
            'encryption needs the cryptography package: pip install "photosearch[encrypt]"'
        ) from None
    _, rounds, salt, _ = HEADER.unpack(header)
    if not passphrase:
        raise PhotosearchError("the passphrase is empty")
    if not 1 <= rounds <= MAX_ROUNDS:
        raise BundleError(f"a sealed file asks for {rounds} rounds; not one of ours")
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, rounds, dklen=32)
    return AESGCM(key)


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _chunks(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """Parts of a stream, the last one marked; an empty stream is one empty last part."""
    chunk = stream.read(size)
    while True:
        following = stream.read(size)
        yield chunk, not following
        if not following:
            return
        chunk = following
