"""Compressed frame to samples, no larger than needed. Runs in the decoding child: native code may crash or hang."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from radray.dicom.codestreams import Codestream, jpeg2000_codestream, jpeg_codestream
from radray.dicom.samples import FrameSpec, SmallFrame, Wavelet, small_frame, small_size

_SPARE = 1.5
"""A frame reduced by the codec keeps at least this many times the side wanted, so that the rest is an area average."""
_WAVELET_SPARE = 1.2
"""The same for wavelets, whose low band is sharper than an area average."""

Samples = npt.NDArray[Any]


def decode_frame(frame: bytes, spec: FrameSpec) -> SmallFrame:
    """Decode `frame` and bring it to the size wanted.

    Raises:
        Exception: Whatever the codec raises for damaged data.
    """
    return _DECODERS[spec.codec](frame, spec)


def _jpeg(frame: bytes, spec: FrameSpec) -> SmallFrame:
    stream = jpeg_codestream(frame)
    if stream.precision == 8 and not stream.lossless and not spec.signed:
        return _jpeg_8_bit(frame, spec, stream)
    stored = np.asarray(imagecodecs.jpeg8_decode(frame))
    return small_frame(stored, _as_coded(spec, stored, stream))


def _jpeg_8_bit(frame: bytes, spec: FrameSpec, stream: Codestream) -> SmallFrame:
    """Baseline JPEG: libjpeg scales inside the inverse DCT, and gives luminance without colour conversion."""
    image = Image.open(BytesIO(frame))
    scale = min(1.0, spec.side_px * _SPARE / max(stream.rows, stream.columns))
    mode = "L" if image.mode in ("L", "YCbCr", "RGB") else image.mode
    image.draft(mode, (max(1, int(stream.columns * scale)), max(1, int(stream.rows * scale))))
    stored = np.asarray(image.convert("L") if image.mode != "L" else image)
    result = small_frame(stored, _scaled(spec, stored, 8, colour=stream.components > 1))
    return replace(result, source_rows=stream.rows, source_columns=stream.columns)


def _jpeg2000(frame: bytes, spec: FrameSpec) -> SmallFrame:
    stream = jpeg2000_codestream(frame)
    spec = replace(spec, rows=stream.rows, columns=stream.columns)
    across, down = small_size(spec.rows, spec.columns, spec)
    times, reduce = min(spec.columns / across, spec.rows / down), 0
    while reduce < stream.resolutions and times / 2 ** (reduce + 1) >= _spare(stream, reduce + 1):
        reduce += 1
    if stream.precision > 16 or stream.components not in (1, 3):
        return _jpeg2000_full(frame, spec, stream)
    try:
        image = Image.open(BytesIO(frame))
        image.reduce = reduce  # type: ignore[method-assign, assignment]
        # Pillow rounds the reduced size, OpenJPEG takes the next whole number: name a size where both agree.
        block = 1 << reduce
        image._size = (-(-stream.columns // block) * block, -(-stream.rows // block) * block)
        image.load()
    except OSError:  # a number of resolutions that differs by tile, a sampling that Pillow does not read
        return _jpeg2000_full(frame, spec, stream)
    stored = np.asarray(image)
    if stream.components == 1:
        stored = _unshifted(stored, stream)
    return small_frame(
        stored, _as_coded(spec, stored, stream), wavelet=Wavelet(halvings=reduce, reversible=stream.lossless)
    )


def _spare(stream: Codestream, halvings: int) -> float:
    """How many times the side wanted a reduced frame keeps at least: more of the 5-3 wavelet beyond a quarter.

    It is short and aliases, each time a little more.
    """
    return _SPARE if stream.lossless and halvings > 2 else _WAVELET_SPARE


def _jpeg2000_full(frame: bytes, spec: FrameSpec, stream: Codestream) -> SmallFrame:
    stored = np.asarray(imagecodecs.jpeg2k_decode(frame))
    return small_frame(stored, _as_coded(spec, stored, stream))


def _unshifted(stored: Samples, stream: Codestream) -> Samples:
    """Undo Pillow's scaling to its mode's width; signed samples come with an offset of half the range."""
    width = 8 if stored.dtype == np.uint8 else 16
    values = stored.astype(np.uint16) >> (width - stream.precision)
    if not stream.signed:
        return values
    centred: Samples = values.astype(np.int16 if stream.precision < 16 else np.int32) - (1 << (stream.precision - 1))
    return centred


def _jpegls(frame: bytes, spec: FrameSpec) -> SmallFrame:
    stream = jpeg_codestream(frame)
    stored = np.asarray(imagecodecs.jpegls_decode(frame))
    return small_frame(stored, _as_coded(spec, stored, stream))


def _jpegxl(frame: bytes, spec: FrameSpec) -> SmallFrame:
    stored = np.asarray(imagecodecs.jpegxl_decode(frame))
    return small_frame(stored, _scaled(spec, stored, spec.bits_stored, colour=stored.ndim == 3))


def _rle(frame: bytes, spec: FrameSpec) -> SmallFrame:
    from rle.rle import decode_frame as decode_rle  # type: ignore[import-not-found]

    flat = np.frombuffer(decode_rle(frame, spec.rows * spec.columns, spec.bits_allocated, "<"), np.uint8)
    kind = np.dtype(f"<u{spec.bits_allocated // 8}")
    stored = flat.view(kind).reshape(spec.samples, spec.rows, spec.columns)
    return small_frame(stored[0] if spec.samples == 1 else np.moveaxis(stored, 0, -1), spec)


def _png(frame: bytes, spec: FrameSpec) -> SmallFrame:
    stored = np.asarray(imagecodecs.png_decode(frame))
    if stored.ndim == 3:  # transparency is left out
        stored = stored[..., 0] if stored.shape[2] < 3 else stored[..., :3]
    return small_frame(stored, _scaled(spec, stored, 8 * stored.dtype.itemsize, colour=stored.ndim == 3))


def _as_coded(spec: FrameSpec, stored: Samples, stream: Codestream) -> FrameSpec:
    """`spec` with the number of samples that the codestream holds; colour that came out of a JPEG 2000 is RGB."""
    samples = 1 if stored.ndim == 2 else stored.shape[2]
    photometric = "RGB" if samples > 1 and spec.photometric in ("YBR_ICT", "YBR_RCT") else spec.photometric
    high_bit = (
        max(spec.high_bit, spec.bits_stored - 1) if stream.precision >= spec.bits_stored else spec.bits_stored - 1
    )
    return replace(spec, samples=samples, photometric=photometric, high_bit=high_bit)


def _scaled(spec: FrameSpec, stored: Samples, bits: int, *, colour: bool) -> FrameSpec:
    """`spec` for samples that fill `bits` bits."""
    samples = 3 if colour else 1
    return replace(spec, bits_stored=bits, high_bit=bits - 1, bits_allocated=8 * stored.dtype.itemsize, samples=samples)


_DECODERS: dict[str, Callable[[bytes, FrameSpec], SmallFrame]] = {
    "jpeg": _jpeg,
    "jpeg2000": _jpeg2000,
    "jpegls": _jpegls,
    "jpegxl": _jpegxl,
    "png": _png,
    "rle": _rle,
}
