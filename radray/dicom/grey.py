"""Stored values to grey values as a display shows them (PS3.3 C.11; PS3.4 N.2): modality, VOI, presentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from radray.dicom.samples import SmallFrame
from radray.dicom.values import first, integer, items, number, text, value

Float = npt.NDArray[np.float32]

_PERCENTILES = (0.5, 99.5)
_HARDLY_ANY_GREY = 0.02
"""A window that leaves less than this share of pixels between black and white is useless …"""
_LITTLE_GREY = 0.1
_MUCH_LESS = 0.2
"""… and so is one that leaves little, and much less than percentiles would."""


def is_inverted(dataset: Dataset) -> bool:
    """Whether low values are bright.

    MONOCHROME1 and Presentation LUT Shape INVERSE (2050,0020) state the same thing twice (PS3.3 C.8.11.3.1.2).
    """
    shape = text(dataset, "PresentationLUTShape")
    return text(dataset, "PhotometricInterpretation") == "MONOCHROME1" or shape == "INVERSE"


def grey_values(frame: SmallFrame, dataset: Dataset) -> Float:
    """Grey values in [0, 1], `[rows, columns]`, bone bright."""
    if frame.is_luminance:
        return frame.values.clip(0, 1)
    values = _modality(frame.values, dataset)
    shown = _voi(values, dataset)
    return (1 - shown if is_inverted(dataset) else shown).astype(np.float32)


def _modality(values: Float, dataset: Dataset) -> Float:
    """Modality LUT Sequence (0028,3000), else Rescale Slope and Intercept (PS3.3 C.11.1)."""
    for item in items(dataset, "ModalityLUTSequence"):
        if (table := _lookup(item, dataset)) is not None:
            return _look_up(values, *table)
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    return (values * np.float32(slope or 1) + np.float32(intercept or 0)).astype(np.float32)


def _voi(values: Float, dataset: Dataset) -> Float:
    """The first VOI LUT or window that shows something, else percentiles (PS3.3 C.11.2)."""
    plain = cache(partial(_by_percentiles, values, dataset))
    for item in items(dataset, "VOILUTSequence"):
        if (table := _lookup(item, dataset)) is not None:
            shown = _look_up(values, *table) / max(float(table[1].max()), 1.0)
            if not _is_useless(shown, plain):
                return shown.clip(0, 1)
    centre, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if centre is not None and width is not None and width > 0:
        shown = _window(values, centre, width, text(dataset, "VOILUTFunction") or "LINEAR")
        if not _is_useless(shown, plain):
            return shown
    return plain()


def _window(values: Float, centre: float, width: float, function: str) -> Float:
    """PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT), output 0 to 1."""
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    elif function == "LINEAR_EXACT":
        shown = (values - centre) / width + 0.5
    else:
        shown = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    clipped: Float = np.clip(shown, 0, 1).astype(np.float32)
    return clipped


def _by_percentiles(values: Float, dataset: Dataset) -> Float:
    """The 0.5th percentile black, the 99.5th white; 8-bit pictures that use their range keep it."""
    bits = min(max(integer(dataset, "BitsStored") or 16, 1), 32)
    low, high = (float(edge) for edge in np.percentile(values, _PERCENTILES))
    top = float((1 << bits) - 1)
    unscaled = number(dataset, "RescaleSlope") in (None, 1.0) and not items(dataset, "ModalityLUTSequence")
    if bits <= 8 and unscaled and high - low > 64 and values.min() >= 0:
        low, high = 0.0, top
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values)
    return ((values - low) / (high - low)).clip(0, 1)


def _is_useless(shown: Float, plain: Callable[[], Float]) -> bool:
    share = _share_of_greys(shown)
    if share >= _LITTLE_GREY:
        return False  # Most are: what percentiles would show need not be known.
    possible = _share_of_greys(plain())
    if possible == 0:
        return False
    return share < min(_HARDLY_ANY_GREY, possible) or share < _MUCH_LESS * possible


def _share_of_greys(shown: Float) -> float:
    return float(((shown > 0.005) & (shown < 0.995)).mean())


def _lookup(item: Dataset, dataset: Dataset) -> tuple[float, Float] | None:
    """First value mapped and the table of a LUT item (PS3.3 C.11.1.1), None where it is damaged."""
    descriptor, stored = value(item, "LUTDescriptor"), value(item, "LUTData")
    try:
        entries, start, bits = (int(part) for part in descriptor)
        if isinstance(stored, bytes):
            table = np.frombuffer(stored, np.uint8 if len(stored) < 2 * (entries or 65536) else "<u2")
        else:
            table = np.atleast_1d(np.asarray(stored)).astype(np.int64) & 0xFFFF
    except (TypeError, ValueError):
        return None
    if integer(dataset, "PixelRepresentation") == 1 and start > 0x7FFF:
        start -= 0x10000
    table = table[: (entries & 0xFFFF) or 65536].astype(np.float32)
    return (float(start), table) if len(table) > 1 and 1 <= bits <= 16 else None


def _look_up(values: Float, start: float, table: Float) -> Float:
    # Entries lie one apart, so that a place needs no search: a quarter of the time of numpy.interp.
    place = np.clip(values.astype(np.float64) - start, 0, len(table) - 1)
    below = np.minimum(place.astype(np.intp), len(table) - 2)
    entries = table.astype(np.float64)
    return np.asarray(np.diff(entries)[below] * (place - below) + entries[below], np.float32)


def luminance_table(dataset: Dataset) -> tuple[int, tuple[float, ...]] | None:
    """First value mapped and luminance (0–1) of each entry of the palette (PS3.3 C.7.6.3.1.5)."""
    tables, start = [], 0
    for colour in ("Red", "Green", "Blue"):
        descriptor = value(dataset, f"{colour}PaletteColorLookupTableDescriptor")
        stored = value(dataset, f"{colour}PaletteColorLookupTableData")
        try:
            entries, start, bits = (int(part) for part in descriptor)
            wide = len(stored) >= 2 * ((entries & 0xFFFF) or 65536)
            table = np.frombuffer(stored, "<u2" if wide else np.uint8)[: (entries & 0xFFFF) or 65536]
        except (TypeError, ValueError):
            return None
        tables.append(table.astype(np.float32) / max(float((1 << bits) - 1) if wide else 255.0, 1.0))
    if len({len(table) for table in tables}) != 1 or not len(tables[0]):
        return None
    luminance = 0.299 * tables[0] + 0.587 * tables[1] + 0.114 * tables[2]
    return start, tuple(float(entry) for entry in np.clip(luminance, 0, 1))


def pixel_height(dataset: Dataset) -> float:
    """Height of a pixel in pixel widths: Pixel Aspect Ratio (0028,0034), else one of the spacings; 1 when unknown."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = value(dataset, keyword)
        try:
            vertical, horizontal = (float(part) for part in found)
        except (TypeError, ValueError):
            continue
        if vertical > 0 and horizontal > 0 and 0.1 < vertical / horizontal < 10:
            ratio = vertical / horizontal
            return ratio if abs(ratio - 1) > 0.01 else 1.0
    return 1.0


def padding_range(dataset: Dataset, *, signed: bool, bits_allocated: int) -> tuple[int, int] | None:
    """Pixel Padding Value (0028,0120) to Pixel Padding Range Limit (0028,0121), as the pixels' sign has them."""
    low = _integer_or_bytes(first(dataset, "PixelPaddingValue"))
    if low is None:
        return None
    high = _integer_or_bytes(first(dataset, "PixelPaddingRangeLimit"))
    edges = [low, low if high is None else high]
    half = 1 << (bits_allocated - 1)
    edges = [edge - 2 * half if signed and edge >= half else edge for edge in edges]
    edges = [edge + 2 * half if not signed and edge < 0 else edge for edge in edges]
    return min(edges), max(edges)


def _integer_or_bytes(found: object) -> int | None:
    if isinstance(found, bytes):
        return int.from_bytes(found[:2], "little")
    try:
        return int(found)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None
