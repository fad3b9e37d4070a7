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
_TONES = 1023


def quantiles(values: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """The quantiles `low` and `high` of grey values in [0, 1], to one part in 4096 (by histogram)."""
    levels = (values.astype(np.float32, copy=False).ravel() * (_LEVELS - 1)).astype(np.int32)
    cumulative = np.bincount(levels, minlength=_LEVELS).cumsum()
    total = int(cumulative[-1])
    found = np.searchsorted(cumulative, [low * (total - 1) + 1, high * (total - 1) + 1])
    return float(found[0]) / (_LEVELS - 1), float(found[1]) / (_LEVELS - 1)


def stretch(grey: Grey, low: float, high: float) -> Grey:
    """Move `low` to 0 and `high` to 1, and clip."""
    scale = 1.0 / max(high - low, 1e-6)
    return clip_unit(np.asarray(cv2.addWeighted(grey, scale, grey, 0.0, -low * scale), np.float32))


def clip_unit(grey: Grey) -> Grey:
    """Clip to [0, 1] in place; what is not a number becomes 0."""
    cv2.patchNaNs(grey, 0.0)
    cv2.threshold(grey, 1.0, 0.0, cv2.THRESH_TRUNC, dst=grey)
    cv2.threshold(grey, 0.0, 0.0, cv2.THRESH_TOZERO, dst=grey)
    return grey


def tone_exponent(grey: Grey, foreground: Mask, median: float) -> float:
    """The power, 0.4 to 2.5, of grey values that moves the median of the foreground to `median`.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        foreground: Uint8 mask of the image, at any size; only pixels above 0 count.
        median: The grey value wanted.

    Returns:
        The exponent; 1 where there is hardly a foreground.
    """
    small = cv2.resize(grey, foreground.shape[::-1], interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0], foreground, [_TONES + 1], [0, 1 + 1 / _TONES]).cumsum()
    if counts[-1] < 64:
        return 1.0
    found = float(np.clip(np.searchsorted(counts, counts[-1] / 2) / _TONES, 0.02, 0.98))
    return float(np.clip(np.log(median) / np.log(found), 0.4, 2.5))


def equalise_locally(grey: Grey, clip: float) -> Grey:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, 1994) on 8 × 8 tiles."""
    levels = (grey * 65535.0).astype(np.uint16)
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=(8, 8)).apply(levels).astype(np.float32) / np.float32(65535)
