"""Grey values: quantile normalisation and the removal of a scanner's look."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]
"""A grey image: float32 [rows, columns] in [0, 1], bone bright."""
Mask = npt.NDArray[np.uint8]
"""A mask: uint8 [rows, columns], 0 or 255."""

_LEVELS = 4096


def quantiles(values: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """The quantiles `low` and `high` of grey values in [0, 1], to one part in 4096 (by histogram)."""
    levels = (values.astype(np.float32, copy=False).ravel() * (_LEVELS - 1)).astype(np.int32)
    counts = np.bincount(levels, minlength=_LEVELS)
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    found = np.searchsorted(cumulative, [low * (total - 1) + 1, high * (total - 1) + 1])
    return float(found[0]) / (_LEVELS - 1), float(found[1]) / (_LEVELS - 1)


def stretch(grey: Grey, low: float, high: float) -> Grey:
    """Move `low` to 0 and `high` to 1, and clip."""
    scale = 1.0 / max(high - low, 1e-6)
    out = cv2.addWeighted(grey, scale, grey, 0.0, -low * scale)
    return np.clip(np.asarray(out, np.float32), 0.0, 1.0)


def normalise_tone(grey: Grey, foreground: Mask, median: float) -> Grey:
    """Bend the grey scale (a power between 0.4 and 2.5) so that the median of the foreground becomes `median`.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        foreground: Uint8 mask of the image, at any size; only pixels above 0 count.
        median: The grey value wanted.

    Returns:
        The image; unchanged where there is hardly a foreground.
    """
    small = cv2.resize(grey, foreground.shape[::-1], interpolation=cv2.INTER_AREA)
    values = small[foreground > 0]
    if values.size < 64:
        return grey
    found = float(np.clip(np.median(values), 0.02, 0.98))
    exponent = float(np.clip(np.log(median) / np.log(found), 0.4, 2.5))
    return np.asarray(cv2.pow(grey, exponent), np.float32)


def equalise_locally(grey: Grey, clip: float) -> Grey:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, 1994) on 8 × 8 tiles."""
    levels = (grey * 65535.0).astype(np.uint16)
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=(8, 8)).apply(levels).astype(np.float32) / np.float32(65535)
