"""Burned-in text and side markers: found by shape, flagged with boxes, painted over.

Burned-in characters are thin, sharp, nearly uniform strokes, much lighter (or darker) than what surrounds them. A
line of three or more of like height is text; one or two alone are a side marker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.geometry import Box
from radray.cleaning.intensity import Grey, Mask


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What was found, in pixels of the image given."""

    text: tuple[Box, ...]
    """Lines of text."""
    markers: tuple[Box, ...]
    """Side markers: one or two characters apart from everything else."""
    strokes: Mask
    """The pixels of all candidate characters, uint8 [rows, columns]."""


def find_annotations(grey: Grey, *, strong: bool = False) -> Annotations:
    """Find burned-in text and side markers of a normalised radiograph.

    Args:
        grey: Float32 [rows, columns] in [0, 1].
        strong: The header says that the image holds text (BurnedInAnnotation (0028,0301) is YES): take fainter
            strokes and shorter lines.
    """
    strokes = _strokes(grey, 0.2 if strong else 0.35)
    characters = _characters(strokes, grey.shape)
    lines = _lines(characters)
    text = [line for line in lines if len(line) >= (2 if strong else 3)]
    markers = [line for line in lines if len(line) < (2 if strong else 3)]
    return Annotations(
        text=tuple(_join(line) for line in text),
        markers=tuple(_join(line) for line in markers),
        strokes=strokes,
    )


def _strokes(grey: Grey, contrast: float) -> Mask:
    """Thin structures that stand out from their surroundings by `contrast`, light ones and dark ones."""
    width = max(5, round(max(grey.shape) / 64) | 1)
    levels = (grey * 255).astype(np.uint8)
    light = cv2.morphologyEx(levels, cv2.MORPH_TOPHAT, np.ones((width, width), np.uint8))
    return np.asarray(cv2.inRange(light, contrast * 255, 255), np.uint8)


def _characters(strokes: Mask, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Boxes (left, top, width, height, area) of pieces that have a character's size and shape."""
    longer = max(shape)
    count, _, stats, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    boxes = stats[1:count]
    width, height, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    fill = area / np.maximum(1, width * height)
    fits = (height >= max(5, 0.01 * longer)) & (height <= 0.07 * longer) & (width <= 1.6 * height)
    return boxes[fits & (width >= 2) & (fill >= 0.2) & (fill <= 0.95)]


def _lines(boxes: npt.NDArray[np.int32]) -> list[list[npt.NDArray[np.int32]]]:
    """Characters of like height that stand side by side, grouped."""
    lines: list[list[npt.NDArray[np.int32]]] = []
    for box in boxes[np.argsort(boxes[:, 0], kind="stable")][:400]:
        for line in lines:
            last = line[-1]
            height = max(last[3], box[3])
            gap = box[0] - (last[0] + last[2])
            if (
                abs(int(last[3]) - int(box[3])) <= 0.35 * height
                and abs(2 * int(last[1]) + int(last[3]) - 2 * int(box[1]) - int(box[3])) <= 0.6 * height
                and -0.3 * height <= gap <= 1.2 * height
            ):
                line.append(box)
                break
        else:
            lines.append([box])
    return lines


def _join(line: list[npt.NDArray[np.int32]]) -> Box:
    boxes = np.array(line)
    return Box(
        int(boxes[:, 0].min()),
        int(boxes[:, 1].min()),
        int((boxes[:, 0] + boxes[:, 2]).max()),
        int((boxes[:, 1] + boxes[:, 3]).max()),
    )


def paint_over(grey: Grey, boxes: tuple[Box, ...]) -> Grey:
    """Fill each box, grown by a third of its height, with a plane-smooth continuation of its surroundings."""
    if not boxes:
        return grey
    out = grey.copy()
    rows, columns = grey.shape
    for box in boxes:
        grow = max(2, round((box.bottom - box.top) / 3))
        left, top = max(0, box.left - grow), max(0, box.top - grow)
        right, bottom = min(columns, box.right + grow), min(rows, box.bottom + grow)
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
