"""One radiograph's pixels at the size asked for: `decode`.

Compressed frames are read by native codecs in a child process with limits on time and memory; uncompressed ones are
averaged straight from the object's bytes.
"""

from __future__ import annotations

import atexit
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from radray.dicom.child import DecodingChild
from radray.dicom.codestreams import jpeg2000_codestream, jpeg_codestream
from radray.dicom.fragments import codec_of, frame_at
from radray.dicom.grey import grey_values, is_inverted, luminance_table, padding_range, pixel_height
from radray.dicom.parsing import PIXEL_DATA, UNDEFINED_LENGTH, ParsedObject, PixelElement, lenient, parse
from radray.dicom.samples import FrameSpec, SmallFrame, frame_bytes, read_uncompressed, small_frame
from radray.dicom.syntaxes import CODECS, LOSSY, is_supported
from radray.dicom.values import integer, text
from radray.errors import ConfigError, ObjectError, Reason


@dataclass(frozen=True, kw_only=True)
class PixelLimits:
    """What one object may cost."""

    max_pixels: int = 200_000_000
    """Rows × columns × frames, checked before anything is allocated."""
    timeout_s: float = 30.0
    """Longest time a codec may take for one image, in seconds."""
    memory_mib: int = 4096
    """Most address space of the decoding child, in MiB."""

    def __post_init__(self) -> None:
        for name, low in (("max_pixels", 1), ("timeout_s", 0.001), ("memory_mib", 1024)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; set it to {low} or more")


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """A radiograph as a display shows it, small."""

    grey: npt.NDArray[np.float32]
    """`[rows, columns]` in [0, 1], bone bright, square pixels; long side `side_px`, or the original's if smaller."""
    burned_in: bool | None
    """Burned In Annotation (0028,0301); None where it is not stated."""
    source_rows: int
    """Rows of the stored image."""
    source_columns: int
    """Columns of the stored image."""


def decode(body: bytes, *, side_px: int, limits: PixelLimits | None = None, frame: int = 0) -> Pixels:
    """Decode one frame of an object.

    Args:
        body: The whole DICOM object.
        side_px: Long side wanted, in pixels.
        limits: Of size, time and memory.
        frame: Position of the frame, 0 for the first.

    Raises:
        ObjectError: NOT_DICOM, CORRUPT_HEADER, NO_PIXELS, UNSUPPORTED_TRANSFER_SYNTAX, TOO_LARGE, CORRUPT_PIXELS,
            DECODER_CRASHED, DECODE_TIMEOUT.
    """
    with lenient():
        try:
            return _decode(body, side_px, limits or PixelLimits(), frame)
        except ObjectError:
            raise
        except Exception as error:  # a damaged header can hold any number in any place
            raise ObjectError(Reason.CORRUPT_PIXELS, f"cannot be read ({type(error).__name__})") from error


def _decode(body: bytes, side_px: int, limits: PixelLimits, frame: int) -> Pixels:
    parsed = parse(body)
    if parsed.pixels is None or parsed.pixels.length == 0:
        raise ObjectError(Reason.NO_PIXELS, "the object has no Pixel Data")
    if parsed.pixels.tag != PIXEL_DATA:
        raise ObjectError(Reason.NOT_RADIOGRAPH, "floating-point pixels")
    if not is_supported(parsed.transfer_syntax):
        raise ObjectError(Reason.UNSUPPORTED_TRANSFER_SYNTAX, _uid(parsed.transfer_syntax))
    frames = max(1, integer(parsed.dataset, "NumberOfFrames") or 1)
    spec = _frame_spec(parsed, side_px)
    check_size(spec.rows, spec.columns, frames, limits)
    if not 0 <= frame < frames:
        raise ObjectError(Reason.CORRUPT_PIXELS, f"no frame {frame + 1} of {frames}")
    small = _small_frame(parsed, parsed.pixels, spec, frames, limits, frame)
    burned_in = {"YES": True, "NO": False}.get((text(parsed.dataset, "BurnedInAnnotation") or "").upper())
    return Pixels(
        grey=grey_values(small, parsed.dataset),
        burned_in=burned_in,
        source_rows=small.source_rows,
        source_columns=small.source_columns,
    )


def _frame_spec(parsed: ParsedObject, side_px: int) -> FrameSpec:
    header = parsed.dataset
    rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
    allocated = integer(header, "BitsAllocated") or 0
    if rows < 1 or columns < 1 or allocated not in (1, 8, 16, 32):
        raise ObjectError(Reason.CORRUPT_PIXELS, f"{rows} rows, {columns} columns, {allocated} bits allocated")
    stored = integer(header, "BitsStored") or allocated
    stored = stored if 0 < stored <= allocated else allocated
    high = integer(header, "HighBit")
    signed = integer(header, "PixelRepresentation") == 1
    photometric = (text(header, "PhotometricInterpretation") or "MONOCHROME2").upper()
    palette = luminance_table(header) if photometric == "PALETTE COLOR" else None
    return FrameSpec(
        codec=CODECS.get(parsed.transfer_syntax, "none"),
        rows=rows,
        columns=columns,
        samples=max(1, integer(header, "SamplesPerPixel") or 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high if high is not None and stored - 1 <= high < allocated else stored - 1,
        signed=signed,
        photometric=photometric,
        planar=integer(header, "PlanarConfiguration") == 1,
        big_endian=not parsed.little_endian,
        padding=padding_range(header, signed=signed, bits_allocated=allocated),
        lossy=parsed.transfer_syntax in LOSSY,
        bright_is_low=is_inverted(header),
        palette=palette,
        side_px=side_px,
        pixel_height=pixel_height(header),
    )


def _small_frame(
    parsed: ParsedObject, pixels: PixelElement, spec: FrameSpec, frames: int, limits: PixelLimits, wanted: int
) -> SmallFrame:
    encapsulated = pixels.length == UNDEFINED_LENGTH
    if not encapsulated and (spec.codec == "none" or pixels.length == frame_bytes(spec) * frames):
        return _from_buffer(parsed, pixels, replace(spec, codec="none"), wanted)
    frame = frame_at(parsed.body, pixels, frames, wanted)
    spec = replace(spec, codec=codec_of(frame, spec.codec))
    if spec.codec == "none":
        raise ObjectError(Reason.CORRUPT_PIXELS, "encapsulated pixels under an uncompressed transfer syntax")
    if spec.codec == "deflated_frame":
        inflated = _inflated(frame, frame_bytes(spec))
        return small_frame(read_uncompressed(inflated, spec), replace(spec, codec="none"))
    if spec.codec in ("jpeg", "jpegls", "jpeg2000"):
        stream = jpeg2000_codestream(frame) if spec.codec == "jpeg2000" else jpeg_codestream(frame)
        check_size(stream.rows, stream.columns, 1, limits)
    return decode_in_child(frame, spec, limits)


def decode_in_child(frame: bytes, spec: FrameSpec, limits: PixelLimits) -> SmallFrame:
    """Decode one compressed frame in this process's decoding child.

    Raises:
        ObjectError: CORRUPT_PIXELS, TOO_LARGE, DECODER_CRASHED or DECODE_TIMEOUT.
    """
    return _child(limits.memory_mib).decode(frame, spec, limits.timeout_s)


def _from_buffer(parsed: ParsedObject, pixels: PixelElement, spec: FrameSpec, frame: int) -> SmallFrame:
    if frame and spec.bits_allocated == 1 and spec.rows * spec.columns % 8:
        raise ObjectError(Reason.CORRUPT_PIXELS, "frames of single bits that do not begin at a byte")
    before, wanted = frame * frame_bytes(spec), frame_bytes(spec)
    held = min(pixels.length, len(parsed.body) - pixels.offset) - before
    if held < wanted:
        raise ObjectError(Reason.CORRUPT_PIXELS, f"{max(0, held)} of {wanted} bytes of pixels")
    buffer = memoryview(parsed.body)[pixels.offset + before :]
    swapped = spec.big_endian and pixels.vr == "OW"
    return small_frame(read_uncompressed(buffer, spec, swapped_bytes=swapped), spec)


def _inflated(frame: bytes, wanted: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = stream.decompress(frame, wanted)
    except zlib.error as error:
        raise ObjectError(Reason.CORRUPT_PIXELS, "the deflated frame is damaged") from error
    if len(found) < wanted:
        raise ObjectError(Reason.CORRUPT_PIXELS, f"{len(found)} of {wanted} bytes of pixels")
    return found


def check_size(rows: int, columns: int, frames: int, limits: PixelLimits) -> None:
    """Refuse frames of no or too many pixels before anything is allocated.

    Raises:
        ObjectError: CORRUPT_PIXELS or TOO_LARGE.
    """
    if rows < 1 or columns < 1:
        raise ObjectError(Reason.CORRUPT_PIXELS, f"{rows} rows, {columns} columns")
    if rows * columns * frames > limits.max_pixels:
        raise ObjectError(
            Reason.TOO_LARGE, f"{rows} × {columns} × {frames} pixels; the limit is {limits.max_pixels:,} (max_pixels)"
        )


def _uid(transfer_syntax: str) -> str:
    return transfer_syntax if all(letter in "0123456789." for letter in transfer_syntax) else "not a UID"


@lru_cache(maxsize=4)
def _child(memory_mib: int) -> DecodingChild:
    child = DecodingChild(memory_mib << 20)
    atexit.register(child.close)
    return child
