"""Stored samples of one frame to a small image of their values. numpy and OpenCV only: the decoding child uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


_CLOSE = 2.4
"""A wavelet's low band up to this many times too large is resampled, larger ones are averaged."""
_HALVE = 4
"""An image this many times too large is halved first: five times as fast as one area average, 0.5 % RMS apart."""


@dataclass(frozen=True, kw_only=True)
class FrameSpec:
    """How to read the samples of a frame (PS3.3 C.7.6.3, Image Pixel)."""

    codec: str
    """`none`, or a value of `syntaxes.CODECS`."""
    rows: int
    columns: int
    samples: int
    """Samples per Pixel: 1 or 3."""
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    """Whether the colour planes follow one another."""
    big_endian: bool
    padding: tuple[int, int] | None
    """Lowest and highest Pixel Padding Value (0028,0120), (0028,0121)."""
    lossy: bool
    """Whether the codec may leave the range of the stored bits: such values are clipped, they hold no overlays."""
    bright_is_low: bool
    """Whether low values are shown bright (MONOCHROME1): padding is filled with the dark end."""
    palette: tuple[int, tuple[float, ...]] | None
    """First value mapped and the luminance (0–1) of each entry, for PALETTE COLOR."""
    side_px: int
    """Long side wanted, in pixels."""
    pixel_height: float
    """Height of a pixel in pixel widths (Pixel Aspect Ratio)."""


@dataclass(frozen=True, kw_only=True)
class Wavelet:
    """How a wavelet codec has reduced a frame (ITU-T T.800 Annex F)."""

    halvings: int
    """How often it was halved."""
    reversible: bool
    """Whether by the 5-3 filter, else by the 9-7 one."""


@dataclass(frozen=True, kw_only=True)
class SmallFrame:
    """Stored values (or luminance 0–1 where `is_luminance`) at the size wanted."""

    values: Float
    is_luminance: bool
    source_rows: int
    source_columns: int


def frame_bytes(spec: FrameSpec) -> int:
    """Bytes of one uncompressed frame (PS3.5 8.1.1)."""
    if spec.photometric == "YBR_FULL_422" and spec.codec == "none":
        return spec.rows * spec.columns * 2 * spec.bits_allocated // 8
    return (spec.rows * spec.columns * spec.samples * spec.bits_allocated + 7) // 8


def read_uncompressed(buffer: memoryview | bytes, spec: FrameSpec, *, swapped_bytes: bool = False) -> npt.NDArray[Any]:
    """The frame as stored: `[rows, columns]`, or `[rows, columns, 3]` for colour; a view of `buffer` where possible.

    Args:
        buffer: At least `frame_bytes(spec)` bytes.
        spec: How to read them.
        swapped_bytes: 8-bit samples that a big-endian writer stored as 16-bit words (OW).
    """
    shape = (spec.rows, spec.columns)
    if spec.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(buffer, np.uint8, frame_bytes(spec)), bitorder="little")
        return bits[: spec.rows * spec.columns].reshape(shape)
    order = ">" if spec.big_endian else "<"
    kind = np.dtype(f"{order}u{spec.bits_allocated // 8}")
    if swapped_bytes and spec.bits_allocated == 8:
        count = frame_bytes(spec)
        flat = np.frombuffer(buffer, np.uint8, count + count % 2).reshape(-1, 2)[:, ::-1].reshape(-1)[:count]
    else:
        flat = np.frombuffer(buffer, kind, frame_bytes(spec) // kind.itemsize)
    flat = flat.astype(kind.newbyteorder("="), copy=False)
    if spec.photometric == "YBR_FULL_422":
        return flat.reshape(-1, 4)[:, :2].reshape(shape)
    if spec.samples == 1:
        return flat.reshape(shape)
    if spec.planar:
        return np.moveaxis(flat.reshape(spec.samples, *shape), 0, -1)
    return flat.reshape(*shape, spec.samples)


def small_frame(stored: npt.NDArray[Any], spec: FrameSpec, *, wavelet: Wavelet | None = None) -> SmallFrame:
    """Values of `stored` at the size wanted.

    Args:
        stored: `[rows, columns]` or `[rows, columns, samples]`, unsigned as decoded (or signed).
        spec: How to read them.
        wavelet: How a wavelet codec has reduced the frame already.
    """
    rows, columns = stored.shape[:2]
    halvings = wavelet.halvings if wavelet else 0
    if halvings:
        rows, columns = spec.rows, spec.columns
        spec = replace(spec, lossy=True)  # a wavelet's low band rings beyond the samples' range
    luminance = spec.palette is not None or spec.samples > 1
    values = _luminance(stored, spec) if luminance else _monochrome(stored, spec)
    size = small_size(rows, columns, spec)
    small = _shrink_band(values, rows, columns, size, wavelet) if wavelet and halvings else _shrink(values, size)
    return SmallFrame(values=small, is_luminance=luminance, source_rows=rows, source_columns=columns)


def _monochrome(stored: npt.NDArray[Any], spec: FrameSpec) -> npt.NDArray[Any]:
    values = _unpack(stored if stored.ndim == 2 else stored[..., 0], spec)
    if spec.padding is None:
        return values
    low, high = spec.padding
    outside = (values >= low) & (values <= high)
    if not outside.any() or outside.all():
        return values
    inside = values[~outside]
    filled = values.copy()
    filled[outside] = inside.max() if spec.bright_is_low else inside.min()
    return filled


def _unpack(stored: npt.NDArray[Any], spec: FrameSpec) -> npt.NDArray[Any]:
    """Drop what lies outside the stored bits (overlays, PS3.5 8.1.1) and restore the sign."""
    if stored.dtype.kind == "f" or spec.bits_allocated == 1 or stored.dtype.kind == "i":
        return stored
    width = stored.dtype.itemsize * 8
    if spec.bits_stored >= width:
        return stored.view(stored.dtype.str.replace("u", "i")) if spec.signed else stored
    shift, top = spec.high_bit + 1 - spec.bits_stored, (1 << spec.bits_stored) - 1
    if not spec.signed and shift == 0:
        if spec.lossy:
            clipped: npt.NDArray[Any] = np.minimum(stored, top)
            return clipped
        if int(stored.max(initial=0)) <= top:
            return stored
    raw: npt.NDArray[Any] = stored.astype(np.uint32 if width > 16 else np.uint16)
    if 0 < shift < 16:
        raw >>= shift
    raw &= top
    if not spec.signed:
        return raw
    sign = 1 << (spec.bits_stored - 1)
    signed: npt.NDArray[Any] = (raw.astype(np.int32) ^ sign) - sign
    return signed


def _luminance(stored: npt.NDArray[Any], spec: FrameSpec) -> Float:
    """Brightness 0–1: palettes looked up, RGB weighted (ITU-R BT.601), YBR by its Y."""
    if spec.palette is not None:
        first, table = spec.palette
        index = _unpack(stored if stored.ndim == 2 else stored[..., 0], spec).astype(np.int64) - first
        return np.asarray(table, np.float32)[np.clip(index, 0, len(table) - 1)]
    top = np.float32((1 << min(spec.bits_stored, 8 * stored.dtype.itemsize)) - 1)
    if stored.ndim == 2:
        return stored.astype(np.float32) / top
    if spec.photometric.startswith("YBR"):
        return stored[..., 0].astype(np.float32) / top
    weights = np.asarray([0.299, 0.587, 0.114], np.float32) / top
    return (stored[..., :3].astype(np.float32) @ weights).astype(np.float32)


def small_size(rows: int, columns: int, spec: FrameSpec) -> tuple[int, int]:
    """(columns, rows) for a long side of `side_px` with square pixels; never enlarged beyond the longer side."""
    height = rows * spec.pixel_height
    scale = min(1.0, spec.side_px / max(height, columns))
    return max(1, round(columns * scale)), max(1, round(height * scale))


def _shrink_band(values: npt.NDArray[Any], rows: int, columns: int, size: tuple[int, int], wavelet: Wavelet) -> Float:
    """Nearly the area average of the full frame, from the low band of a wavelet.

    Sample i of a frame halved r times lies at full pixel 2^r·i. Close to the size wanted one cubic resampling moves and
    scales at once. The band is sharper than an average: three taps, fitted on phantoms, soften it by how much an
    average would cover.
    """
    step = 2**wavelet.halvings
    ratio = (columns / size[0] / step, rows / size[1] / step)
    if not 1 <= min(ratio) <= max(ratio) < _CLOSE:
        grid = (max(1, round(columns / step)), max(1, round(rows / step)))
        return _shrink(_resample(values.astype(np.float32), rows, columns, step, grid, cv2.INTER_LINEAR), size)
    side = 0.05 + 0.13 * (max(ratio) - 1.2) + (0.04 if wavelet.reversible else 0.0)
    taps = np.asarray([side, 1 - 2 * side, side], np.float32)
    soft = cv2.sepFilter2D(values.astype(np.float32), cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
    small = _resample(np.asarray(soft, np.float32), rows, columns, step, size, cv2.INTER_CUBIC)
    return np.clip(small, values.min(), values.max(), out=small)  # a cubic goes beyond at sharp edges


def _resample(band: Float, rows: int, columns: int, step: int, size: tuple[int, int], how: int) -> Float:
    """A band whose samples lie every `step` pixels of a frame, from the first one on, at (columns, rows) `size`."""
    ratio = (columns / size[0], rows / size[1])
    matrix = np.asarray(
        [[ratio[0] / step, 0, (ratio[0] - 1) / 2 / step], [0, ratio[1] / step, (ratio[1] - 1) / 2 / step]], np.float64
    )
    moved = cv2.warpAffine(band, matrix, size, flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _shrink(values: npt.NDArray[Any], size: tuple[int, int]) -> Float:
    """Area average to (columns, rows)."""
    if values.dtype not in (np.uint8, np.uint16, np.int16, np.float32):
        values = values.astype(np.float32)
    while min(values.shape[1] / size[0], values.shape[0] / size[1]) >= _HALVE:
        half = ((values.shape[1] + 1) // 2, (values.shape[0] + 1) // 2)  # odd sizes take the slower, general way
        values = cv2.resize(values, half, interpolation=cv2.INTER_AREA)
    if values.dtype == np.uint8:
        values = values.astype(np.float32)
    if (values.shape[1], values.shape[0]) != size:
        smaller = size[0] <= values.shape[1] and size[1] <= values.shape[0]
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.ascontiguousarray(values, dtype=np.float32)
