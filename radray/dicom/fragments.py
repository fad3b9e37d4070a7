"""One frame of encapsulated Pixel Data (PS3.5 A.4), the first read in place."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pydicom.encaps import get_frame

from radray.dicom.parsing import UNDEFINED_LENGTH, PixelElement
from radray.errors import ObjectError, Reason

_ITEM = 0xE000FFFE
_SEQUENCE_END = 0xE0DDFFFE


def frame_at(body: bytes, element: PixelElement, frames: int, place: int) -> bytes:
    """The compressed bytes of the frame at `place`, 0 for the first.

    Raises:
        ObjectError: As `first_frame`.
        Exception: What pydicom raises for later frames of damaged objects.
    """
    if place == 0:
        return first_frame(body, element, frames)
    return get_frame(body[element.offset :], place, number_of_frames=frames)


def first_frame(body: bytes, element: PixelElement, frames: int) -> bytes:
    """The compressed bytes of the first frame.

    Args:
        body: The object.
        element: Its Pixel Data.
        frames: Number of Frames (0028,0008).

    Raises:
        ObjectError: CORRUPT_PIXELS when items are missing or cut off.
    """
    if element.length != UNDEFINED_LENGTH and body[element.offset : element.offset + 4] != b"\xfe\xff\x00\xe0":
        return body[element.offset : element.offset + element.length]  # a writer that did not encapsulate
    items = _items(body, element.offset)
    offsets = next(items, None)
    if offsets is None:
        raise ObjectError(Reason.CORRUPT_PIXELS, "encapsulated pixels without items")
    table = struct.unpack(f"<{offsets.nbytes // 4}L", offsets[: offsets.nbytes // 4 * 4])
    if frames == 1:
        parts = list(items)
    elif len(table) > 1:
        parts = list(_up_to(items, table[1] - table[0]))
    else:
        parts = list(_up_to_end_of_image(items))
    if not parts:
        raise ObjectError(Reason.CORRUPT_PIXELS, "encapsulated pixels without a frame")
    return b"".join(parts)


def codec_of(frame: bytes, declared: str) -> str:
    """The codec that the frame's first bytes name; `declared` where they name none."""
    if frame[:4] == b"\xff\x4f\xff\x51" or frame[4:8] == b"jP  ":
        return "jpeg2000"
    if frame[:3] == b"\xff\xd8\xff":
        place = 2
        while (
            place < len(frame) - 4 and frame[place] == 0xFF and frame[place + 1] not in (0xDA, 0xF7, *range(0xC0, 0xC4))
        ):
            place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
        return "jpegls" if frame[place : place + 2] == b"\xff\xf7" else "jpeg"
    return declared


def _items(body: bytes, place: int) -> Iterator[memoryview]:
    view = memoryview(body)
    while place + 8 <= len(body):
        tag, length = struct.unpack("<LL", view[place : place + 8])
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM or length == UNDEFINED_LENGTH or place + 8 + length > len(body):
            raise ObjectError(Reason.CORRUPT_PIXELS, "an item of the encapsulated pixels is cut off or damaged")
        yield view[place + 8 : place + 8 + length]
        place += 8 + length


def _up_to(items: Iterator[memoryview], size: int) -> Iterator[memoryview]:
    taken = 0
    for item in items:
        yield item
        taken += 8 + item.nbytes
        if taken >= size:
            return


def _up_to_end_of_image(items: Iterator[memoryview]) -> Iterator[memoryview]:
    """Fragments up to one that ends with a JPEG end-of-image marker; RLE and others use one fragment a frame."""
    for number, item in enumerate(items):
        yield item
        is_jpeg_family = number > 0 or bytes(item[:2]) in (b"\xff\xd8", b"\xff\x4f")
        if not is_jpeg_family or bytes(item[-4:]).rstrip(b"\0").endswith(b"\xff\xd9"):
            return
