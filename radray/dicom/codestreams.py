"""What the marker segments of a JPEG-family codestream say before anything is decoded.

JPEG: ITU-T T.81 B.2.2 (frame header); JPEG-LS: T.87 C.2.2; JPEG 2000: T.800 A.5.1 (SIZ) and A.6.1 (COD).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from radray.errors import ObjectError, Reason


@dataclass(frozen=True, kw_only=True)
class Codestream:
    """Size and kind of a compressed frame."""

    rows: int
    columns: int
    precision: int
    """Bits of a sample."""
    components: int
    signed: bool
    """JPEG 2000: whether samples carry a sign."""
    lossless: bool
    """JPEG: process 14 or another lossless one (SOF3, SOF7, SOF11, SOF15). JPEG 2000: the reversible 5-3 wavelet."""
    resolutions: int = 0
    """JPEG 2000: how often the frame can be halved; 0 for one with an offset, whose halves begin elsewhere."""


_SIZELESS = frozenset({0x01, *range(0xD0, 0xDA)})
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


def jpeg_codestream(frame: bytes) -> Codestream:
    """The frame header of a JPEG or JPEG-LS frame.

    Raises:
        ObjectError: CORRUPT_PIXELS when there is none.
    """
    place = max(frame.find(b"\xff\xd8"), 0) + 2
    while 0 < place < len(frame) - 9:
        if frame[place] != 0xFF:
            place = frame.find(b"\xff", place)
            continue
        marker = frame[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _FRAME_HEADERS:
            precision, rows, columns, components = struct.unpack(">BHHB", frame[place + 4 : place + 10])
            return Codestream(
                rows=rows,
                columns=columns,
                precision=precision,
                components=components,
                signed=False,
                lossless=marker in (0xC3, 0xC7, 0xCB, 0xCF),
            )
        elif marker in _SIZELESS or marker == 0x00:
            place += 2
        else:
            place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    raise ObjectError(Reason.CORRUPT_PIXELS, "the JPEG frame has no frame header")


def jpeg2000_codestream(frame: bytes) -> Codestream:
    """The SIZ and COD segments of a JPEG 2000 frame, alone or inside a JP2 file.

    Raises:
        ObjectError: CORRUPT_PIXELS when there are none.
    """
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(frame) < start + 43:
        raise ObjectError(Reason.CORRUPT_PIXELS, "the JPEG 2000 frame has no SIZ segment")
    columns, rows, left, top = struct.unpack(">4L", frame[start + 8 : start + 24])
    components, precision = struct.unpack(">HB", frame[start + 40 : start + 43])
    place, resolutions = start + 4 + struct.unpack(">H", frame[start + 4 : start + 6])[0], 0
    reversible = False
    while place < len(frame) - 14 and frame[place] == 0xFF and frame[place + 1] not in (0x90, 0xD9):
        if frame[place + 1] == 0x52:
            resolutions, reversible = frame[place + 9], frame[place + 13] == 1
            break
        place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    return Codestream(
        rows=rows - top,
        columns=columns - left,
        precision=(precision & 0x7F) + 1,
        components=components,
        signed=bool(precision & 0x80),
        lossless=reversible,
        resolutions=0 if left or top else resolutions,
    )
