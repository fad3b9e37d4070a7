"""Where the pixels lie: shrinking, cropping borders, turning, padding."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Grey, Mask

Matrix = npt.NDArray[np.float64]
"""An affine map [2, 3] from pixel coordinates of one image to another's."""

Shares = npt.NDArray[np.floating]
_FOREGROUND_PX = 256


class Box(NamedTuple):
    """A box of whole pixels; `right` and `bottom` are one past the last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)


def shrink(grey: Grey, longer_side_px: int) -> Grey:
    """Area-average to a longer side of at most `longer_side_px`; smaller images stay as they are."""
    rows, columns = grey.shape
    factor = longer_side_px / max(rows, columns)
    if factor >= 1:
        return grey
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def fit_square(grey: Grey, side_px: int) -> Grey:
    """Scale the longer side to `side_px` (area average when shrinking) and pad with black to a square, centred."""
    rows, columns = grey.shape
    factor = side_px / max(rows, columns)
    height, width = max(1, round(rows * factor)), max(1, round(columns * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(grey, (width, height), interpolation=method)
    square = np.zeros((side_px, side_px), np.float32)
    top, left = (side_px - height) // 2, (side_px - width) // 2
    square[top : top + height, left : left + width] = scaled
    return square


def find_borders(grey: Grey) -> tuple[Box, tuple[str, ...]]:
    """Find the flat dark margins (letterbox) and bright strips (unexposed plate edges) of a normalised image.

    A margin is cut only line by line from outside: a dark line holds nothing above 3 % grey (save 0.5 % of its pixels);
    a bright strip is at least 80 % white, at most 12 % of the side wide, and followed by a sharp fall.

    Returns:
        The box to keep, and the flags `letterbox_cropped`, `bright_strip_cropped` where they apply.
    """
    rows, columns = grey.shape
    flags: dict[str, None] = {}
    box = _trim_dark(grey, Box(0, 0, columns, rows))
    if box.area < rows * columns:
        flags["letterbox_cropped"] = None
    trimmed = _trim_bright(grey, box)
    if trimmed != box:
        flags["bright_strip_cropped"] = None
        trimmed = _trim_dark(grey, trimmed) if trimmed.area else trimmed
    if trimmed.area < 0.05 * rows * columns:
        return Box(0, 0, columns, rows), ()
    return trimmed, tuple(flags)


def _trim_dark(grey: Grey, box: Box) -> Box:
    by_row, by_column = _shares_above(grey, box, 0.03)
    rows, columns = np.flatnonzero(by_row > 0.005), np.flatnonzero(by_column > 0.005)
    if rows.size < 8 or columns.size < 8:
        return box
    return Box(
        box.left + int(columns[0]),
        box.top + int(rows[0]),
        box.left + int(columns[-1]) + 1,
        box.top + int(rows[-1]) + 1,
    )


def _trim_bright(grey: Grey, box: Box) -> Box:
    by_row, by_column = _shares_above(grey, box, 0.8)
    top, bottom = _strip_width(by_row), _strip_width(by_row[::-1])
    left, right = _strip_width(by_column), _strip_width(by_column[::-1])
    return Box(box.left + left, box.top + top, box.right - right, box.bottom - bottom)


def _shares_above(grey: Grey, box: Box, level: float) -> tuple[Shares, Shares]:
    """The share of pixels above `level` in each row and in each column of a box."""
    above = (grey[box.top : box.bottom, box.left : box.right] > level).view(np.uint8)
    by_row, by_column = (cv2.reduce(above, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F) for axis in (1, 0))
    return np.asarray(by_row, np.float32).ravel(), np.asarray(by_column, np.float32).ravel()


def _strip_width(white: Shares) -> int:
    """Lines to cut at the start of `white` (share of white pixels a line): a strip, its fall and one line more."""
    reach = max(3, int(0.12 * white.size))
    lines = np.flatnonzero(white[:reach] >= 0.8)
    if not lines.size or lines[0] > reach // 3:
        return 0
    last = int(lines[-1])
    fall = max(3, white.size // 60)
    behind = white[last + 1 : last + 1 + fall]
    if behind.size < fall or behind.min() > 0.4:
        return 0
    return last + 1 + int(np.argmax(behind <= 0.4)) + 1


def turn_and_crop(grey: Grey, polygon: npt.NDArray[np.float32], angle_deg: float) -> tuple[Grey, Matrix]:
    """Turn the image clockwise by −`angle_deg` about the polygon's centre and crop to the polygon's bounding box.

    Args:
        grey: Float32 [rows, columns].
        polygon: Float32 [points, 2] of (x, y) in pixels.
        angle_deg: Counter-clockwise turn to apply; 0 crops alone.

    Returns:
        The crop, and the map from the input's pixels to the crop's.
    """
    rows, columns = grey.shape
    if angle_deg == 0:
        low, high = (
            np.floor(polygon.min(axis=0)).astype(int),
            np.ceil(polygon.max(axis=0)).astype(int),
        )
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right, bottom = min(columns, int(high[0])), min(rows, int(high[1]))
        return grey[top:bottom, left:right], np.array([[1, 0, -left], [0, 1, -top]], np.float64)
    centre = polygon.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle_deg, 1.0).astype(np.float64)
    turned = polygon @ matrix[:, :2].T + matrix[:, 2]
    low, high = np.floor(turned.min(axis=0)), np.ceil(turned.max(axis=0))
    matrix[:, 2] -= low
    size = (max(1, int(high[0] - low[0])), max(1, int(high[1] - low[1])))
    return cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32, copy=False), matrix


def find_foreground(grey: Grey) -> Mask:
    """The pixels above the empty background: a threshold a third of the way from the background's median to Otsu's.

    Returns:
        Uint8 [rows, columns], 255 on the foreground, with a longer side of at most 256 pixels.
    """
    small = cv2.convertScaleAbs(shrink(grey, _FOREGROUND_PX), alpha=255)
    levels = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)
    otsu = float(cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])
    darker = cv2.calcHist([levels], [0], None, [256], [0, 256])[: int(otsu) + 1].cumsum()
    background = float(np.searchsorted(darker, darker[-1] / 2))
    threshold = background + max(6.0, 0.35 * (otsu - background))
    mask = cv2.threshold(levels, threshold, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)


def find_anatomy(foreground: Mask, shape: tuple[int, ...], margin: float) -> Box:
    """The bounding box of all larger pieces of the foreground (each ≥ 0.4 % of the image) with a margin.

    Args:
        foreground: Uint8 mask of the image, at any size.
        shape: (rows, columns) of the image.
        margin: Added on all sides, as a fraction of the longer side.

    Returns:
        A box in pixels of the image: all of it where the box would cut away less than a tenth, or leave less than 2 %.
    """
    whole = Box(0, 0, shape[1], shape[0])
    count, _, stats, _ = cv2.connectedComponentsWithStats(foreground)
    large = stats[1:count][stats[1:count, cv2.CC_STAT_AREA] >= 0.004 * foreground.size]
    if not len(large):
        return whole
    across, down = shape[1] / foreground.shape[1], shape[0] / foreground.shape[0]
    pad = margin * max(shape)
    box = Box(
        max(0, math.floor(large[:, 0].min() * across - pad)),
        max(0, math.floor(large[:, 1].min() * down - pad)),
        min(shape[1], math.ceil((large[:, 0] + large[:, 2]).max() * across + pad)),
        min(shape[0], math.ceil((large[:, 1] + large[:, 3]).max() * down + pad)),
    )
    return whole if box.area > 0.9 * whole.area or box.area < 0.02 * whole.area else box
