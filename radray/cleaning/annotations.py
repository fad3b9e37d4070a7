"""Burned-in text and side markers: found by shape, told with boxes, painted over.

Burned-in characters are thin, sharp strokes, much lighter or darker than a flat surrounding. A line of three or more
of like height is text; one or two apart from all others are a side marker. Bone has thin light structures too, but
what surrounds them is not flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.geometry import Box
from radray.cleaning.intensity import Grey, Mask

Line = list[Box]

_FLAT_STD = 0.07
"""Standard deviation of grey values around a character, at most."""
_MOST = 400
"""Pieces looked at in one image; more are texture, not writing."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What was found, in pixels of the image given."""

    text: tuple[Box, ...]
    """Lines of text."""
    markers: tuple[Box, ...]
    """Side markers: one or two characters apart from everything else."""


def find_annotations(grey: Grey, *, strong: bool = False) -> Annotations:
    """Find burned-in text and side markers of a normalised radiograph.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        strong: The header says that the image holds text (BurnedInAnnotation (0028,0301) is YES): take fainter
            strokes, less flat surroundings and shorter lines.
    """
    levels = (grey * 255).astype(np.uint8)
    contrast, flat_std, least = (0.2, 2 * _FLAT_STD, 2) if strong else (0.35, _FLAT_STD, 3)
    text: list[Box] = []
    markers: list[Box] = []
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        strokes = find_strokes(levels, contrast, operation)
        characters = _characters(strokes)
        flat = [_surrounding_std(levels, strokes, box) <= flat_std for box in characters]
        others = [box for box, is_flat in zip(characters, flat, strict=True) if not is_flat]
        for line in group_lines([box for box, is_flat in zip(characters, flat, strict=True) if is_flat]):
            if sum(_letters(box) for box in line) >= least:
                text.append(_join(_extend(line, others)))
            elif operation == cv2.MORPH_TOPHAT:
                markers.append(_join(line))
    return Annotations(text=tuple(text), markers=tuple(markers))


def find_strokes(levels: Mask, contrast: float, operation: int) -> Mask:
    """Structures thinner than a 64th of the longer side that stand out by `contrast` (top-hat: light, black-hat: dark).

    Returns:
        Uint8 [rows, columns], 255 on strokes.
    """
    width = max(5, round(max(levels.shape) / 64) | 1)
    hat = cv2.morphologyEx(levels, operation, np.ones((width, width), np.uint8))
    return np.asarray(cv2.inRange(hat, contrast * 255, 255), np.uint8)


def _characters(strokes: Mask) -> list[Box]:
    """Boxes of pieces that have the size and shape of a character, or of a word run together."""
    longer = max(strokes.shape)
    lowest, highest = max(5, 0.01 * longer), 0.07 * longer
    # Outlines take a twentieth of the time of labelled components: strokes are few.
    found_outlines, family = cv2.findContours(strokes, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = cast("Sequence[npt.NDArray[np.int32]]", found_outlines)
    found: list[Box] = []
    for number, outline in enumerate(outlines):
        left, top, width, height = cv2.boundingRect(outline)
        is_hole = family[0][number][3] >= 0
        if is_hole or not lowest <= height <= highest or not 2 <= width <= 12 * height:
            continue
        fill = _pixels(number, outlines, family[0]) / (width * height)
        letter = width <= 1.6 * height and (fill <= 0.95 or width <= 0.45 * height)
        if fill >= 0.2 and (letter or fill <= 0.75):
            found.append(Box(left, top, left + width, top + height))
    return found if len(found) <= _MOST else []


def _pixels(number: int, outlines: Sequence[npt.NDArray[np.int32]], family: npt.NDArray[np.int32]) -> float:
    """Pixels of a piece, by Pick's theorem: those its outline encloses, less those inside its holes."""
    pixels = cv2.contourArea(outlines[number]) + len(outlines[number]) / 2 + 1
    hole = int(family[number][2])
    while hole >= 0:
        pixels -= max(0.0, cv2.contourArea(outlines[hole]) - len(outlines[hole]) / 2 + 1)
        hole = int(family[hole][0])
    return pixels


def _surrounding_std(levels: Mask, strokes: Mask, box: Box) -> float:
    """The spread of grey values in the box grown by three pixels, away from all strokes."""
    window = np.s_[max(0, box.top - 3) : box.bottom + 3, max(0, box.left - 3) : box.right + 3]
    near = cv2.dilate(strokes[window], np.ones((5, 5), np.uint8))
    around = levels[window][near == 0]
    return float(around.std()) / 255 if around.size >= 12 else 1.0


def group_lines(boxes: list[Box]) -> list[Line]:
    """Group boxes of like height that stand side by side."""
    lines: list[Line] = []
    for box in sorted(boxes):
        line = next((line for line in lines if _continues(line[-1], box)), None)
        if line is None:
            lines.append([box])
        else:
            line.append(box)
    return lines


def _continues(last: Box, box: Box) -> bool:
    first_height, height = last.bottom - last.top, box.bottom - box.top
    taller = max(first_height, height)
    return (
        abs(first_height - height) <= 0.35 * taller
        and abs(last.top + last.bottom - box.top - box.bottom) <= 0.6 * taller
        and -0.3 * taller <= box.left - last.right <= 1.2 * taller
    )


def _extend(line: Line, others: list[Box]) -> Line:
    """The line of text with the pieces that go on with it where the surrounding is no longer flat."""
    line = list(line)
    for box in sorted(others):
        if _continues(line[-1], box):
            line.append(box)
    for box in sorted(others, reverse=True):
        if _continues(box, line[0]):
            line.insert(0, box)
    return line


def _letters(box: Box) -> int:
    """How many letters of usual width a piece may hold."""
    return max(1, round((box.right - box.left) / (0.8 * (box.bottom - box.top))))


def _join(line: Line) -> Box:
    corners: npt.NDArray[np.int64] = np.array(line)
    left, top = corners[:, :2].min(axis=0)
    right, bottom = corners[:, 2:].max(axis=0)
    return Box(int(left), int(top), int(right), int(bottom))


def paint_over(grey: Grey, boxes: tuple[Box, ...]) -> Grey:
    """Fill each box with the median of the two pixels around it.

    A box grows by a third of its height, and to the sides by a whole one: a letter at the end may have been missed.
    """
    if not boxes:
        return grey
    out = grey.copy()
    rows, columns = grey.shape
    for box in boxes:
        height = box.bottom - box.top
        grow = max(2, round(height / 3))
        left, top = max(0, box.left - height), max(0, box.top - grow)
        right, bottom = min(columns, box.right + height), min(rows, box.bottom + grow)
        ring = np.concatenate(
            [
                out[max(0, top - 2) : top, left:right].ravel(),
                out[bottom : bottom + 2, left:right].ravel(),
                out[top:bottom, max(0, left - 2) : left].ravel(),
                out[top:bottom, right : right + 2].ravel(),
            ]
        )
        out[top:bottom, left:right] = np.median(ring) if ring.size else 0.0
    return out
