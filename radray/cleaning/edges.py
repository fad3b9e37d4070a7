"""Fine position of a field's edges, from the grey profile across them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Grey, Mask

_THRESHOLDS = (24, 40)
"""Of the edge detector, in grey levels of its 3 × 3 slope (eight times the step a pixel)."""
_REACH = 0.02
_ALONG = 64
_RIM = 0.1
_FALL = 0.05


def detect_edges(levels: Mask) -> tuple[Mask, npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Edges of an image (Canny) and its slopes.

    Returns:
        Uint8 [rows, columns], 255 on edges; the slopes across and down, int16 [rows, columns].
    """
    across, down = cv2.spatialGradient(np.asarray(cv2.GaussianBlur(levels, (5, 5), 0), np.uint8))
    edges = np.asarray(cv2.Canny(across, down, *_THRESHOLDS), np.uint8)
    return edges, np.asarray(across, np.int16), np.asarray(down, np.int16)


def refine_rectangle(grey: Grey, corners: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Move each side of a rectangle to where the grey falls, or onto the middle of a bright rim.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        corners: The four corners (x, y) in order, float32 [4, 2]; (0, 0) is the outer corner of the first pixel.

    Returns:
        The corners, each side moved along its normal by at most 2 % of the longer side of the image. Sides on the
        image's own edge and sides without contrast stay.
    """
    centre = corners.mean(axis=0)
    reach = max(3, round(_REACH * max(grey.shape)))
    moves: list[npt.NDArray[np.float64]] = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.array([end[1] - start[1], start[0] - end[0]], np.float64) / max(1e-6, np.hypot(*(end - start)))
        normal *= np.sign(normal @ (start - centre)) or 1.0
        moves.append(normal * _offset(profile_across(grey, start, end, normal, reach), reach))
    # A corner moves with the two sides that meet in it.
    return np.asarray([corners[i] + moves[i] + moves[i - 1] for i in range(4)], np.float32)


def profile_across(
    grey: Grey,
    start: npt.NDArray[np.floating],
    end: npt.NDArray[np.floating],
    normal: npt.NDArray[np.float64],
    reach: int,
) -> npt.NDArray[np.float64] | None:
    """The median grey at −reach … reach pixels from the segment along `normal`; None where that leaves the image."""
    along = np.linspace(0.06, 0.94, _ALONG)
    across = np.arange(-reach, reach + 1)
    places = (start + along[:, None] * (end - start))[:, None] + across[None, :, None] * normal - 0.5
    rows, columns = grey.shape
    inside = ((places >= 0) & (places <= (columns - 1, rows - 1))).all(axis=(1, 2))
    if inside.sum() < _ALONG // 3:
        return None
    maps = places[inside].astype(np.float32)
    samples = cv2.remap(grey, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    return np.asarray(np.median(samples, axis=0), np.float64)


def _offset(profile: npt.NDArray[np.float64] | None, reach: int) -> float:
    """Where the edge lies in a profile from inside to outside: the middle of its rim, or of its fall."""
    if profile is None or profile.max() - profile.min() < _FALL:
        return 0.0
    across = np.arange(-reach, reach + 1)
    above = profile - max(profile[0], profile[-1])
    if above.max() >= _RIM:
        weight = np.where(above >= 0.5 * above.max(), above, 0.0)
        return float(np.average(across, weights=weight))
    # Nearest the outside the grey leaves its level; the anatomy's own slopes lie further in.
    away = np.abs(profile - profile[-1])
    half = 0.5 * away[np.flatnonzero(away >= 0.5 * away.max())[-1] - min(3, reach) :].max()
    last = int(np.flatnonzero(away >= half)[-1])
    if last >= len(away) - 1:
        return 0.0
    share = (away[last] - half) / max(1e-9, away[last] - away[last + 1])
    return float(across[last] + share)
