"""Collimated rectangles known by their edges alone: for fields whose outside is grey, uneven or noisy.

Edges vote for lines (Hough), the votes name the angle at which a rectangle may lie, and there every pair of pairs of
parallel lines is tried. A rectangle counts only if all four sides lie in the image and the grey steps along each of
them but not beyond its corners, and if what lies outside is quiet and either lighter than the darkest inside, as a
collimator's shadow is, or dark and even, as a shutter is. Shafts, casts and rulers have two sides only.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.intensity import Mask

Corners = npt.NDArray[np.float32]
Votes = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Places = npt.NDArray[np.float64]

_LINES = 6
"""Lines tried in each of the two directions."""
_TURN_DEG = 4
"""A pixel votes for the normals this close to its gradient, in degrees."""
_EDGE = (24, 40)
"""Thresholds of the edge detector, in grey levels of its 3 × 3 slope (eight times the step a pixel)."""
_STEP = 7
"""Grey levels between the two sides of an edge, at least."""
_CAP = 40
"""Grey levels: a higher step says no more about where a line lies."""
_CLEAR = 3
"""Pixels at a corner that do not count."""
_MIN_PEAK, _MIN_PEAKS = 0.06, 0.5
"""Votes of each of a rectangle's lines and of all four, over the image's longer side, at least."""
_MIN_VOTES = 0.3
"""Votes a pixel of a rectangle's sides, at least: fewer mean another angle."""
_BEYOND = 24
"""Pixels beyond a corner along which a side must not go on."""
_GOES_ON, _BOTH_GO_ON = 0.6, 0.3
"""Share of them with a step, at most: on one side, for scattered anatomy may happen to lie there, and on two sides."""
_WEAK = 0.75
"""What a step weaker than half the side's own counts."""
_EACH, _ALL = 0.7, 0.85
"""Share of each side, and of all sides together, along which the grey must step."""
_LIGHTER = 20
"""Grey levels by which the outside is lighter than the darkest inside."""
_DARK, _EVEN = 40, 12
"""Grey of a shutter, and spread of it, at most."""
_QUIET, _SLOPE_CAP = 0.35, 40
"""Mean slope outside over that inside, at most, and the greatest slope that counts, in grey levels."""


class _Lines(NamedTuple):
    """Parallel lines in order."""

    place: Places
    """Offsets from the image's centre along their normal, float64 [lines]."""
    votes: Places
    """Votes, float64 [lines]."""
    steps: Counts
    """Running counts along the lines, every other pixel, of where the grey steps, [lines, positions]."""
    strong: Counts
    """Running counts of where it does so at least half as much as the line's greater steps, [lines, positions]."""
    seen: Counts
    """Running counts of the positions whose both sides lie in the image, [lines, positions]."""


def find_rectangle(levels: Mask, min_area: float) -> tuple[Corners, float] | None:
    """Find the one rectangle, at any angle, that a collimator left open.

    Args:
        levels: Uint8 [rows, columns], normalised, about 256 pixels long.
        min_area: Smallest share of the image it may have.

    Returns:
        Corners (x, y), float32 [4, 2], and the angle of the first side, 0 to 90 degrees; None where nothing convinces.
    """
    ring = np.concatenate([levels[1], levels[-2], levels[:, 1], levels[:, -2]])
    edge = np.quantile(ring, 0.6)
    if edge > _DARK and edge - np.quantile(levels[::4, ::4], 0.03) < _LIGHTER:
        return None
    votes = _vote(levels)
    angle = _likely_angle(_peaks(votes), max(levels.shape))
    if angle is None:
        return None
    boxes = _try_angle(levels, votes, angle, min_area)
    found = (_corners(box, angle, levels.shape) for box in boxes)
    return next(((corners, float(angle)) for corners in found if _is_shadowed(levels, corners)), None)


def _vote(levels: Mask) -> Votes:
    """Votes of the edges for lines, float32 [180 degrees of the normal, pixels from the centre]."""
    rows, columns = levels.shape
    smooth = cv2.GaussianBlur(levels, (5, 5), 0)
    across, down = cv2.spatialGradient(smooth)
    y, x = np.nonzero(cv2.Canny(across, down, *_EDGE))
    normal = np.degrees(np.arctan2(down[y, x].astype(np.float32), across[y, x])).round().astype(np.int32)
    angle = (normal + np.arange(-_TURN_DEG, _TURN_DEG + 1, dtype=np.int32)[:, None]) % 180
    turn = np.radians(np.arange(180, dtype=np.float32))
    reach = _reach(levels.shape)
    offset = (x - (columns - 1) / 2).astype(np.float32) * np.cos(turn)[angle]
    offset += (y - (rows - 1) / 2).astype(np.float32) * np.sin(turn)[angle]
    width = 2 * reach + 1
    place = angle * width + (offset + (reach + 0.5)).astype(np.int32)
    votes = np.bincount(place.ravel(), minlength=180 * width).reshape(180, width).astype(np.float32)
    return np.asarray(cv2.sepFilter2D(votes, -1, np.array([0.5, 1, 0.5]), np.ones(1)), np.float32)


def _reach(shape: tuple[int, ...]) -> int:
    """Pixels from the centre to beyond a corner."""
    return int(np.hypot(shape[0], shape[1]) / 2) + 4


def _peaks(votes: Votes) -> Votes:
    """The votes where they are highest along the offset, else 0."""
    return np.where(votes >= cv2.dilate(votes, np.ones((1, 7), np.uint8)), votes, np.float32(0))


def _likely_angle(peaks: Votes, longer: int) -> int | None:
    """The angle, 0 to 89 degrees, whose four best lines (two each way) have most votes; None if those are few."""
    two = np.partition(peaks, -2, axis=1)[:, -2:]
    four = np.concatenate([two[:90], two[90:]], axis=1)
    total = four.sum(axis=1)
    total[(four.min(axis=1) < _MIN_PEAK * longer) | (total < _MIN_PEAKS * longer)] = 0
    angle = int(np.argmax(total))
    return angle if total[angle] > 0 else None


def _try_angle(levels: Mask, votes: Votes, angle: int, min_area: float) -> Places:
    """The rectangles at one angle with steps along their sides, best first: (left, top, right, bottom), [≤ 4, 4]."""
    upright, level = (_measure(levels, votes[normal], normal) for normal in (angle, angle + 90))
    one, other = np.triu_indices(len(upright.place), 1)
    high, low = np.triu_indices(len(level.place), 1)
    left, right = np.repeat(one, len(high)), np.repeat(other, len(high))
    top, bottom = np.tile(high, len(one)), np.tile(low, len(one))
    # Along an upright line the level ones follow in order, along a level line the upright ones from the last.
    sides = [
        _look_along(lines, line, crossing[start], crossing[end])
        for lines, line, crossing, start, end in (
            (upright, left, level.place, top, bottom),
            (upright, right, level.place, top, bottom),
            (level, top, -upright.place, right, left),
            (level, bottom, -upright.place, right, left),
        )
    ]
    steps, seen, won, on = (np.array(values) for values in zip(*sides, strict=True))
    boxes = np.stack([upright.place[left], level.place[top], upright.place[right], level.place[bottom]], axis=1)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    around = np.maximum(seen.sum(axis=0), 1)
    good = (width * height >= min_area * levels.size) & (np.minimum(width, height) >= 0.12 * max(levels.shape))
    good &= (seen.min(axis=0) >= 8) & (on.max(axis=(0, 1)) <= _GOES_ON) & (won.sum(axis=0) >= 2 * _MIN_VOTES * around)
    good &= np.maximum(on[:2].min(axis=0), on[2:].min(axis=0)).max(axis=0) <= _BOTH_GO_ON
    good &= (steps >= _EACH * seen).all(axis=0) & (steps.sum(axis=0) >= _ALL * around)
    score = (won + 2 * (steps - seen)).sum(axis=0)
    best = np.flatnonzero(good)
    best = best[np.argsort(-score[best])[:4]]
    return np.asarray(boxes[best], np.float64)


def _look_along(lines: _Lines, line: Indices, start: Places, end: Places) -> tuple[Counts, Counts, Places, Places]:
    """Sides that lie on `line` from `start` to `end`: places with a step, places seen, votes, going on [2 ends]."""
    steps, _, seen = _count(lines, line, start + _CLEAR, end - _CLEAR)
    on = np.zeros((2, len(line)))
    for i, (weak, strong, room) in enumerate(
        (
            _count(lines, line, start - _BEYOND, start - _CLEAR),
            _count(lines, line, end + _CLEAR, end + _BEYOND),
        )
    ):
        on[i] = np.where(room >= 4, np.maximum(weak * _WEAK, strong) / np.maximum(room, 1), 0)
    return steps, seen, np.minimum(lines.votes[line], 4 * seen), on


def _count(lines: _Lines, line: Indices, start: Places, end: Places) -> list[Counts]:
    """The positions between two places on each line: where the grey steps, steps strongly, could be seen to step."""
    last = lines.steps.shape[1] - 1
    first = np.clip(np.ceil(start / 2).astype(int) + last // 2, 0, last)
    final = np.clip(np.floor(end / 2).astype(int) + last // 2, 0, last)
    return [counts[line, final] - counts[line, first] for counts in (lines.steps, lines.strong, lines.seen)]


def _measure(levels: Mask, votes: Votes, normal_deg: int) -> _Lines:
    """Look along the lines of one direction that have most votes.

    Positions along a line run from −reach to reach in steps of two pixels, along the normal turned by +90 degrees.
    """
    rows, columns = levels.shape
    reach = _reach(levels.shape)
    peaks = _peaks(votes[None])[0]
    best = np.argpartition(-peaks, _LINES)[:_LINES]
    offset = np.sort(best[peaks[best] > 0]) - reach
    turn = np.radians(normal_deg)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = np.arange(-(reach // 2), reach // 2 + 1, dtype=np.float32)[:, None] * 2
    across = (offset[:, None] + np.arange(-5, 6)).ravel().astype(np.float32)
    x = across * cos + np.float32((columns - 1) / 2) - along * sin
    y = across * sin + np.float32((rows - 1) / 2) + along * cos
    smooth = cv2.blur(cv2.remap(levels, x, y, cv2.INTER_LINEAR), (3, 5)).reshape(len(along), -1, 11)
    # The step at −2 … 2 pixels from the line, between means of three pixels that lie 1 to 3 pixels off.
    step = cv2.absdiff(smooth[:, :, 5:10], smooth[:, :, 1:6])
    ends = (x[:, 0::11], x[:, 10::11], y[:, 0::11], y[:, 10::11])
    seen = np.minimum(ends[0], ends[1]) >= 0
    seen &= (np.maximum(ends[0], ends[1]) <= columns - 1) & (np.minimum(ends[2], ends[3]) >= 0)
    seen &= np.maximum(ends[2], ends[3]) <= rows - 1
    highest = step.max(axis=2) * seen
    steps = highest >= _STEP
    strong = steps & (2 * highest.astype(np.float32) >= np.sort(highest, axis=0)[int(0.8 * len(along))])
    exact = (np.minimum(step, _CAP) * steps[:, :, None]).sum(axis=0).argmax(axis=1) - 2
    counts = (np.cumsum(some.T, axis=1, dtype=np.int32) for some in (steps, strong, seen))
    return _Lines((offset + exact).astype(np.float64), peaks[offset + reach].astype(np.float64), *counts)


def _corners(box: Places, angle: int, shape: tuple[int, ...]) -> Corners:
    """The corners of a box at an angle about the image's centre."""
    turn = np.radians(angle)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    left, top, right, bottom = box
    at = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return np.asarray(at @ axes + (shape[1] / 2, shape[0] / 2), np.float32)


def _is_shadowed(levels: Mask, corners: Corners) -> bool:
    """Whether what lies outside is quiet, and lighter than the darkest inside or as dark and even as a shutter."""
    small = cv2.blur(cv2.resize(levels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (3, 3))
    slope = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    inner = np.zeros(small.shape, np.uint8)
    cv2.fillConvexPoly(inner, np.round(corners * 8 - 8).astype(np.int32), 255, shift=4)
    kernel = np.ones((5, 5), np.uint8)
    outer, core = cv2.dilate(inner, kernel) == 0, cv2.erode(inner, kernel) > 0
    if min(outer.sum(), core.sum()) < 64:
        return False
    unrest = np.minimum(slope, _SLOPE_CAP)
    if unrest[outer].mean() > _QUIET * unrest[core].mean():
        return False
    low, quarter, high = np.quantile(small[outer], (0.02, 0.25, 0.98))
    if quarter - np.quantile(small[core], 0.05) >= _LIGHTER:
        return True
    # A shutter: so dark and even outside that nothing is lost there.
    return bool(quarter <= _DARK and high - low <= _EVEN)
