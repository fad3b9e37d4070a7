"""From bytes to a data set and the place of its pixels, whatever the writer did wrong (PS3.5, PS3.10)."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from radray.dicom.syntaxes import DEFLATED, EXPLICIT_LITTLE
from radray.errors import ObjectError, Reason

PIXEL_DATA = 0x7FE00010
_FLOAT_PIXEL_DATA = (0x7FE00008, 0x7FE00009)
UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_INFLATED_BYTES = 1 << 29
"""Most bytes a deflated object may grow to (512 MiB)."""


class MoreBytesNeeded(Exception):
    """The bytes at hand end before the header does."""


@dataclass(frozen=True, kw_only=True)
class PixelElement:
    """Where the value of Pixel Data (7FE0,0010) lies in the object's bytes."""

    tag: int
    vr: str | None
    """Value representation, None where implicit."""
    offset: int
    """Of the value, in bytes."""
    length: int
    """In bytes; `UNDEFINED_LENGTH` for encapsulated pixels."""


@dataclass(frozen=True, kw_only=True)
class ParsedObject:
    """A header and the place of the pixels in `body`."""

    dataset: Dataset
    body: bytes
    """The object's bytes, inflated where the transfer syntax is deflated."""
    pixels: PixelElement | None
    transfer_syntax: str
    """UID; guessed from the encoding where file meta information is missing."""
    little_endian: bool


@contextmanager
def lenient() -> Iterator[None]:
    """Read values that break the standard's rules without warnings, which would quote them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pydicom.config.disable_value_validation():
            yield


def parse(body: bytes, *, complete: bool = True) -> ParsedObject:
    """Read the data set up to its pixels; to be called within `lenient()`.

    Args:
        body: The whole object, or its first bytes.
        complete: False when `body` is only the beginning.

    Raises:
        ObjectError: NOT_DICOM or CORRUPT_HEADER.
        MoreBytesNeeded: `body` is only the beginning and ends within the header.
    """
    if not _looks_like_dicom(body):
        raise ObjectError(Reason.NOT_DICOM, "no DICOM prefix and no element that a data set starts with")
    inflated = _inflate(body, complete) if DEFLATED.encode() in body[:2048] else body
    stream = BytesIO(inflated)
    seen: list[PixelElement] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag < _FLOAT_PIXEL_DATA[0]:
            return False
        seen.append(PixelElement(tag=int(tag), vr=vr, offset=stream.tell(), length=length))
        return True

    try:
        dataset: Any = read_partial(stream, at_pixels, force=True)
    except Exception as error:
        if not complete:
            raise MoreBytesNeeded from error
        raise ObjectError(Reason.CORRUPT_HEADER, f"the header cannot be read ({type(error).__name__})") from error
    if not complete and not seen:
        raise MoreBytesNeeded
    implicit, little = dataset.original_encoding
    named = DEFLATED if inflated is not body else _text(dataset.file_meta, "TransferSyntaxUID")
    found = seen[0] if seen and seen[0].tag in (PIXEL_DATA, *_FLOAT_PIXEL_DATA) else None
    return ParsedObject(
        dataset=dataset,
        body=inflated,
        pixels=found,
        transfer_syntax=named or _guessed_syntax(bool(implicit), bool(little)),
        little_endian=bool(little),
    )


def parse_beginning(body: bytes) -> Dataset:
    """The elements that `body` holds in full or in part, when the header is known to go on behind it."""
    inflated = _inflate(body, complete=False) if DEFLATED.encode() in body[:2048] else body
    try:
        return read_partial(BytesIO(inflated), lambda tag, _vr, _length: tag >= _FLOAT_PIXEL_DATA[0], force=True)
    except Exception as error:
        raise MoreBytesNeeded from error


def _text(dataset: Any, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip(" \0")
    except Exception:  # pydicom raises many kinds for values that break their VR
        return ""


def _guessed_syntax(implicit: bool, little: bool) -> str:
    if implicit:
        return "1.2.840.10008.1.2"
    return EXPLICIT_LITTLE if little else "1.2.840.10008.1.2.2"


def _looks_like_dicom(body: bytes) -> bool:
    if body[128:132] == b"DICM":
        return True
    if len(body) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", body[:4])
        if group in (0x0002, 0x0008) and element <= 0x0100:
            letters = body[4:6]
            explicit = letters.isalpha() and letters.isupper()
            return explicit or struct.unpack(f"{order}L", body[4:8])[0] < 1 << 16
    return False


def _inflate(body: bytes, complete: bool) -> bytes:
    """The object as Explicit VR Little Endian, its data set inflated (PS3.5 A.5)."""
    if body[128:132] != b"DICM" or body[132:138] != b"\x02\x00\x00\x00UL":
        return body
    start = 144 + struct.unpack("<L", body[140:144])[0]
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        rest = stream.decompress(body[start:], MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise ObjectError(Reason.CORRUPT_HEADER, "the deflated data set is damaged") from error
    if stream.unconsumed_tail:
        raise ObjectError(Reason.TOO_LARGE, f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB")
    if complete and not stream.eof:
        raise ObjectError(Reason.CORRUPT_HEADER, "the deflated data set is cut off")
    plain = EXPLICIT_LITTLE.encode().ljust(len(DEFLATED), b"\0")
    return body[:start].replace(DEFLATED.encode(), plain) + rest
