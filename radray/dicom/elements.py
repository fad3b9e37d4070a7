"""A data set as bytes: where its elements lie, and new elements in the same encoding (PS3.5 chapter 7).

What is not to be changed is never decoded, so that it comes out as it went in: wrong value representations, private
elements, sequences of undefined length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom.filereader import data_element_generator

from radray.dicom.parsing import UNDEFINED_LENGTH
from radray.errors import ObjectError, Reason

_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Value representations whose length takes four bytes where it is explicit (PS3.5 table 7.1-1)."""
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_DELIMITER_BYTES = 8
_META_GROUP = 0x0002


class Span(NamedTuple):
    """Where one element of the top level lies."""

    tag: int
    start: int
    """First byte of its tag."""
    end: int
    """One past its last byte, delimiters included."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How elements are written."""

    implicit: bool
    """Whether value representations are left out."""
    little: bool
    """Byte order."""

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """One element; a value of odd length is padded (PS3.5 6.2)."""
        if len(value) % 2:
            value += b"\0" if vr in ("UI", "OB", "UN") else b" "
        group, number = tag >> 16, tag & 0xFFFF
        order = "<" if self.little else ">"
        if self.implicit:
            return struct.pack(f"{order}HHL", group, number, len(value)) + value
        if vr in _LONG:
            return struct.pack(f"{order}HH2sHL", group, number, vr.encode(), 0, len(value)) + value
        return struct.pack(f"{order}HH2sH", group, number, vr.encode(), len(value)) + value

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        """A sequence of defined length whose items hold the elements given."""
        return self.element(tag, "SQ", b"".join(self.item(content) for content in items))

    def item(self, content: bytes) -> bytes:
        """One item of defined length (PS3.5 7.5.1)."""
        order = "<" if self.little else ">"
        return struct.pack(f"{order}HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content

    def items_of(self, element: bytes) -> bytes | None:
        """The items of a sequence element as they are; None where it is no sequence."""
        order = "<" if self.little else ">"
        if not self.implicit and element[4:6] != b"SQ":
            return None
        start = 8 if self.implicit else 12
        length = struct.unpack(f"{order}L", element[start - 4 : start])[0]
        return element[start:-_DELIMITER_BYTES] if length == UNDEFINED_LENGTH else element[start:]


def data_set_start(body: bytes) -> int:
    """Where the data set begins: behind preamble, prefix and file meta information, as far as they are there."""
    place = 132 if body[128:132] == b"DICM" else 0
    stream = BytesIO(body)
    stream.seek(place)
    try:
        for _ in data_element_generator(stream, False, True, stop_when=lambda tag, _vr, _n: tag.group != _META_GROUP):
            place = stream.tell()
    except Exception as error:  # pydicom raises many kinds for damaged lengths
        raise ObjectError(Reason.CORRUPT_HEADER, f"file meta information ({type(error).__name__})") from error
    return place


def element_spans(body: bytes, start: int, encoding: Encoding, stop: int) -> tuple[list[Span], int]:
    """The elements of the top level before the first one from tag `stop` on, and where that one begins.

    Args:
        body: The object, inflated.
        start: First byte of the data set.
        encoding: Of the data set.
        stop: A tag.

    Raises:
        ObjectError: CORRUPT_HEADER where elements cannot be told apart.
    """
    stream = BytesIO(body)
    stream.seek(start)
    spans, place = [], start
    try:
        for element in data_element_generator(
            stream, encoding.implicit, encoding.little, stop_when=lambda tag, _vr, _length: tag >= stop
        ):
            spans.append(Span(int(element.tag), place, stream.tell()))
            place = stream.tell()
    except Exception as error:
        raise ObjectError(Reason.CORRUPT_HEADER, f"the header cannot be read ({type(error).__name__})") from error
    return spans, place


def value_end(body: bytes, start: int, length: int, *, little: bool) -> int | None:
    """Where the value of Pixel Data ends, behind the delimiter of encapsulated frames; None where it is cut off.

    Args:
        body: The object, inflated.
        start: First byte of the value.
        length: As the element says.
        little: Byte order.
    """
    if length != UNDEFINED_LENGTH:
        return start + length if start + length <= len(body) else None
    while start + 8 <= len(body):
        group, number, size = struct.unpack_from("<HHL" if little else ">HHL", body, start)
        start += 8
        if (group << 16 | number) == _SEQUENCE_END:
            return start
        if (group << 16 | number) != _ITEM:
            return None
        start += size
    return None
