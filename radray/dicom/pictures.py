"""Pictures that are no DICOM objects, PNG and JPEG, as grey values: read by the decoding child, within its limits."""

from __future__ import annotations

import struct
from dataclasses import replace

from pydicom.dataset import Dataset

from radray.dicom.codestreams import jpeg_codestream
from radray.dicom.grey import grey_values
from radray.dicom.pixels import PixelLimits, Pixels, check_size, decode_in_child
from radray.dicom.samples import FrameSpec
from radray.errors import ObjectError, Reason

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_COLOUR, _PNG_PALETTE = (2, 6), 3


def is_picture(body: bytes) -> bool:
    """Whether it begins as PNG or JPEG files do."""
    return body.startswith((_PNG, _JPEG))


def decode_picture(body: bytes, *, side_px: int, limits: PixelLimits) -> Pixels:
    """Decode a picture; low values are taken as black.

    Args:
        body: The whole file.
        side_px: Long side wanted, in pixels.
        limits: Of size, time and memory.

    Raises:
        ObjectError: UNSUPPORTED_TRANSFER_SYNTAX where it is neither PNG nor JPEG; TOO_LARGE, CORRUPT_PIXELS,
            DECODER_CRASHED or DECODE_TIMEOUT.
    """
    try:
        spec = _png_spec(body) if body.startswith(_PNG) else _jpeg_spec(body)
    except (struct.error, IndexError) as error:
        raise ObjectError(Reason.CORRUPT_PIXELS, "the picture ends within its head") from error
    check_size(spec.rows, spec.columns, 1, limits)
    small = decode_in_child(body, replace(spec, side_px=side_px), limits)
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored = "MONOCHROME2", spec.bits_stored
    grey = grey_values(small, header)
    return Pixels(grey=grey, burned_in=None, source_rows=small.source_rows, source_columns=small.source_columns)


def _png_spec(body: bytes) -> FrameSpec:
    """From the IHDR chunk (ISO/IEC 15948, 11.2.1)."""
    if body[12:16] != b"IHDR":
        raise ObjectError(Reason.CORRUPT_PIXELS, "the PNG file does not begin with its head")
    columns, rows, bits, colour = struct.unpack(">LLBB", body[16:26])
    has_colour = colour in _PNG_COLOUR or colour == _PNG_PALETTE
    return _spec("png", rows, columns, 3 if has_colour else 1, 16 if bits == 16 else 8)


def _jpeg_spec(body: bytes) -> FrameSpec:
    if not body.startswith(_JPEG):
        raise ObjectError(Reason.UNSUPPORTED_TRANSFER_SYNTAX, "the picture is neither PNG nor JPEG")
    stream = jpeg_codestream(body)
    return _spec("jpeg", stream.rows, stream.columns, stream.components, 8 if stream.precision <= 8 else 16)


def _spec(codec: str, rows: int, columns: int, samples: int, bits: int) -> FrameSpec:
    return FrameSpec(
        codec=codec,
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=False,
        photometric="RGB" if samples > 1 else "MONOCHROME2",
        planar=False,
        big_endian=False,
        padding=None,
        lossy=codec == "jpeg",
        bright_is_low=False,
        palette=None,
        side_px=rows,
        pixel_height=1.0,
    )
