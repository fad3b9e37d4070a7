"""Collimated rectangles known by their edges alone: for fields whose outside is grey, uneven or noisy.

Edges vote for lines (Hough), the votes name the angle at which a rectangle may lie, and there every pair of pairs of
parallel lines is tried. A rectangle counts only if all four sides lie in the image and the grey steps along each of
them but not beyond its corners, and if what lies outside is quiet and either lighter than the darkest inside, as a
collimator's shadow is, or dark and even, as a shutter is. Shafts, casts and rulers have two sides only.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.edges import detect_edges
from radray.cleaning.intensity import Mask

Corners = npt.NDArray[np.float32]
Votes = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Places = npt.NDArray[np.float64]

Outside = Literal["shutter", "shadow", "dark shadow"]
_OUTSIDE: tuple[Outside, ...] = ("shutter", "shadow", "dark shadow")
"""What may lie outside a rectangle, by how clear its sides must be."""

_TRIED = 8
"""Rectangles whose outside is looked at."""
_LINES = 6
"""Lines tried in each of the two directions."""
_TURN_DEG = 4
"""A pixel votes for the normals this close to its gradient, in degrees."""
_STEP = 7
"""Grey levels between the two sides of an edge, at least."""
_CAP = 40
"""Grey levels: a higher step says no more about where a line lies."""
_CLEAR = 3
"""Pixels at a corner that do not count."""
_MIN_PEAK, _MIN_PEAKS, _MANY_PEAKS = 0.06, 0.5, 0.75
"""Votes of each of a rectangle's lines and of all four, over the image's longer side, at least; many of all four."""
_MIN_VOTES = 0.3
"""Votes a pixel of a rectangle's sides, at least: fewer mean another angle."""
_SHARP_VOTES = 0.6
"""Votes a pixel of sides as sharp and straight as a collimator's; those of casts and splints have fewer."""
_BEYOND = 24
"""Pixels beyond a corner along which a side must not go on."""
_GOES_ON, _BOTH_GO_ON = 0.6, 0.3
"""Share of them with a step, at most: on one side, for scattered anatomy may happen to lie there, and on two sides."""
_WEAK = 0.75
"""What a step weaker than half the side's own counts."""
_EACH, _ALL, _PLAIN = 0.7, 0.85, 0.97
"""Share of each side, and of all sides together, along which the grey must step; of one that is plain to see."""
_EACH_FAINT, _ALL_FAINT = 0.35, 0.65
"""The same where the outside is a shutter, for nothing is lost there: air may be as dark inside."""
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
    for angle in _likely_angles(_peaks(votes), max(levels.shape)):
        boxes, clear = _try_angle(levels, votes, angle, min_area)
        for box, clearness in zip(boxes, clear, strict=True):
            corners = _corners(box, angle, levels.shape)
            if outside_of(levels, corners) in _OUTSIDE[:clearness]:
                return corners, float(angle)
    return None


def _vote(levels: Mask) -> Votes:
    """Votes of the edges for lines, float32 [180 degrees of the normal, pixels from the centre]."""
    rows, columns = levels.shape
    edges, across, down = detect_edges(levels)
    y, x = np.nonzero(edges)
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


def _likely_angles(peaks: Votes, longer: int) -> list[int]:
    """The angles, 0 to 89 degrees, whose four best lines (two each way) have most votes, at most two of them."""
    two = np.partition(peaks, -2, axis=1)[:, -2:]
    four = np.concatenate([two[:90], two[90:]], axis=1)
    total = four.sum(axis=1)
    least = np.where(total >= _MANY_PEAKS * longer, _MIN_PEAK / 2, _MIN_PEAK)
    # Near the axes the image's own side may be the fourth.
    fewest = np.where(_near_axis(np.arange(90)), np.sort(four, axis=1)[:, 1], four.min(axis=1))
    total[(fewest < least * longer) | (total < _MIN_PEAKS * longer)] = 0
    angles: list[int] = []
    while len(angles) < 2 and total.any():
        angles.append(int(np.argmax(total)))
        apart = np.abs(np.arange(90) - angles[-1])
        total[np.minimum(apart, 90 - apart) <= _TURN_DEG] = 0
    return angles


def _try_angle(levels: Mask, votes: Votes, angle: int, min_area: float) -> tuple[Places, Indices]:
    """The rectangles at one angle with steps along their sides, best first.

    Returns:
        (left, top, right, bottom), [≤ 8, 4], and how clear each is: 1 where parts of its sides are missing, 2, or 3
        where it steps nearly everywhere, and sharply.
    """
    upright, level = (_measure(levels, votes[normal], normal) for normal in (angle, angle + 90))
    if _near_axis(angle):
        # The image may end where the field does.
        across, down = levels.shape[::-1] if angle < 45 else levels.shape
        upright, level = _with_borders(upright, across / 2), _with_borders(level, down / 2)
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
    good &= won.sum(axis=0) >= 2 * _MIN_VOTES * around
    plain = steps.sum(axis=0) >= _PLAIN * around
    bounded = (seen >= 8).sum(axis=0)
    good &= (bounded == 4) | ((bounded == 3) & plain & (np.sort(seen, axis=0)[1] >= 8))
    # on is [side, end, rectangle]; a plain rectangle may have anatomy beyond two of its corners.
    ends_on = (on > _GOES_ON).sum(axis=(0, 1))
    good &= (ends_on == 0) | ((ends_on <= 2) & plain)
    good &= on.min(axis=1).max(axis=0) <= _BOTH_GO_ON
    clear = (steps >= _EACH * seen).all(axis=0) & (steps.sum(axis=0) >= _ALL * around)
    good &= clear | ((steps >= _EACH_FAINT * seen).all(axis=0) & (steps.sum(axis=0) >= _ALL_FAINT * around))
    score = (won + 2 * (steps - seen)).sum(axis=0) - np.where(bounded == 4, 0, 1e6)
    best = np.flatnonzero(good)
    best = best[np.argsort(-score[best])[:_TRIED]]
    sharp = won.sum(axis=0) >= 2 * _SHARP_VOTES * around
    return np.asarray(boxes[best], np.float64), 1 + clear[best].astype(np.int64) + (plain & sharp)[best]


def _near_axis(angle: Any) -> Any:
    return np.minimum(angle, 90 - angle) <= 1


def _with_borders(lines: _Lines, reach: float) -> _Lines:
    """The lines with two more, along the image's own sides, where nothing can be seen to step."""
    far = np.abs(lines.place) < reach - 4
    place = np.concatenate([[-reach], lines.place[far], [reach]])
    none = np.zeros((1, lines.steps.shape[1]), np.int32)
    counts = (np.concatenate([none, counted[far], none]) for counted in (lines.steps, lines.strong, lines.seen))
    return _Lines(place, np.concatenate([[0.0], lines.votes[far], [0.0]]), *counts)


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


def outside_of(levels: Mask, corners: Corners) -> Outside | None:
    """What lies outside a convex polygon, if it is quiet.

    Returns:
        A shutter (dark and even), a shadow (lighter than the darkest inside, as scatter makes it), a dark shadow
        (darker than nearly all inside, as air round a limb is too), or None.
    """
    small = cv2.blur(cv2.resize(levels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (3, 3))
    slope = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    inner = np.zeros(small.shape, np.uint8)
    cv2.fillConvexPoly(inner, np.round(corners * 8 - 8).astype(np.int32), 255, shift=4)
    kernel = np.ones((5, 5), np.uint8)
    outer, core = cv2.dilate(inner, kernel) == 0, cv2.erode(inner, kernel) > 0
    if min(outer.sum(), core.sum()) < 64:
        return None
    unrest = np.minimum(slope, _SLOPE_CAP)
    if unrest[outer].mean() > _QUIET * unrest[core].mean():
        return None
    low, quarter, high = np.quantile(small[outer], (0.02, 0.25, 0.98))
    darkest, dark = np.quantile(small[core], (0.05, 0.25))
    if quarter <= _DARK and high - low <= _EVEN:
        return "shutter"
    if quarter - darkest >= _LIGHTER:
        return "shadow"
    return "dark shadow" if high < dark else None
