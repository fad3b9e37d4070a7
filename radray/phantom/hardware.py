"""Things a radiograph shows besides the patient's body: metal and casts in it, markers, gauges and text on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from radray.phantom.projection import METAL_PER_MM, SOFT_PER_MM, Image, add_part, fill_mask
from radray.phantom.shapes import Part, Points, Sketch, step, tube

Random = np.random.Generator

CUES = ("ring", "square", "triangle", "cross", "bar", "dots", "chevron", "diamond")
"""Shapes of the plantable spurious cue; region number modulo their count picks one."""

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def _angle(axis: Points, at: int) -> float:
    a, b = axis[max(at - 1, 0)], axis[min(at + 1, len(axis) - 1)]
    return float(np.degrees(np.arctan2(b[0] - a[0], -(b[1] - a[1]))))


def add_implant(integral: Image, sketch: Sketch, mm_per_px: float, rng: Random) -> str:
    """Add metal to the line integral in place; `sketch` is in pixels. Returns its name or ""."""
    metal = np.zeros_like(integral)
    px = 1.0 / mm_per_px
    kind = ""
    if sketch.plane:
        axis, radius_mm = sketch.plane[int(rng.integers(len(sketch.plane)))]
        low = int(rng.integers(1, max(2, len(axis) // 3)))
        high = min(len(axis) - 1, low + int(rng.integers(6, 22)))
        along = axis[low : high + 1]
        if len(along) < 3:
            return ""
        kind = str(
            rng.choice(["plate", "nail", "screws", "prosthesis"] if radius_mm > 10 else ["plate", "nail", "screws"])
        )
        if kind == "nail":
            outline, depth = tube(along, [radius_mm * 0.45 * px] * 2), radius_mm * 0.9
            add_part(metal, Part(outlines=[outline], rim=radius_mm * 0.45, depth=depth), mm_per_px)
        elif kind == "prosthesis":
            outline = tube(along, [radius_mm * f * px for f in (1.5, 0.9, 0.6, 0.4)])
            head = (
                np.stack([np.cos(np.linspace(0, 6.28, 30)), np.sin(np.linspace(0, 6.28, 30))], 1) * radius_mm * 1.5 * px
                + axis[low]
            )
            add_part(metal, Part(outlines=[outline, head], rim=radius_mm, depth=9), mm_per_px)
        else:
            offset = radius_mm * float(rng.choice([-1.0, 1.0])) * px
            direction = _angle(along, len(along) // 2) + 90
            shifted = along + (np.array(step((0, 0), direction, offset)) if kind == "plate" else 0.0)
            if kind == "plate":
                add_part(metal, Part(outlines=[tube(shifted, [3.0 * px, 3.0 * px])], rim=2, depth=4), mm_per_px)
            for i in np.linspace(1, len(along) - 2, int(rng.integers(2, 7))).astype(int):
                centre = (float(along[i, 0]), float(along[i, 1]))
                tilt = _angle(along, i) + 90 + float(rng.normal(0, 12))
                ends = np.array([step(centre, tilt, -1.15 * radius_mm * px), step(centre, tilt, 1.15 * radius_mm * px)])
                add_part(
                    metal,
                    Part(outlines=[tube(np.linspace(ends[0], ends[1], 4), [1.5 * px, 1.5 * px])], rim=1.2, depth=3),
                    mm_per_px,
                )
    else:
        kind = "clips"
        rows, columns = integral.shape
        for _ in range(int(rng.integers(3, 9))):
            centre = (float(rng.uniform(0.3, 0.7) * columns), float(rng.uniform(0.2, 0.8) * rows))
            ends = np.array([centre, step(centre, float(rng.uniform(0, 180)), 7 * px)])
            add_part(
                metal,
                Part(outlines=[tube(np.linspace(ends[0], ends[1], 4), [0.9 * px] * 2)], rim=0.9, depth=2),
                mm_per_px,
            )
    integral += np.minimum(np.float32(METAL_PER_MM) * metal, np.float32(4.0))
    return kind


def add_cast(integral: Image, sketch: Sketch, mm_per_px: float, texture: Image) -> None:
    """Wrap the soft tissue in plaster: a denser band along the outline with a coarse weave."""
    outlines = [outline for part in sketch.soft for outline in part.outlines]
    mask = fill_mask(outlines, integral.shape)
    size = max(3, int(2 * 7 / mm_per_px) | 1)
    ring = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    distance = cv2.distanceTransform(ring, cv2.DIST_L2, 3) * np.float32(mm_per_px)
    shell = np.where(
        distance > 0, np.float32(7.0) + np.float32(16.0) * np.exp(-np.square(distance - 4) / 14), np.float32(0)
    )
    integral += np.float32(SOFT_PER_MM * 1.3) * shell * (1 + np.float32(0.12) * texture)


def _blend(image: Image, mask: NDArray[np.uint8], value: float, opacity: float, left: int, top: int) -> None:
    rows, columns = image.shape
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + mask.shape[1], columns), min(top + mask.shape[0], rows)
    if x0 >= x1 or y0 >= y1:
        return
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32) * np.float32(opacity / 255.0)
    window = image[y0:y1, x0:x1]
    window += alpha * (np.float32(value) - window)


def _text_mask(text: str, height_px: float, rng: Random, thick: float = 0.1) -> NDArray[np.uint8]:
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    scale = height_px / 22.0
    thickness = max(1, round(height_px * thick))
    (width, height), base = cv2.getTextSize(text, font, scale, thickness)
    mask = np.zeros((height + base + 2 * thickness + 2, width + 2 * thickness + 2), np.uint8)
    cv2.putText(mask, text, (thickness, height + thickness), font, scale, 255, thickness, cv2.LINE_AA)
    return mask


def _spot(field: Points, rng: Random, inwards: float) -> tuple[float, float]:
    """A place near the edge of the exposed field: a point on its border moved `inwards` (0 to 1) to its middle."""
    i = int(rng.integers(len(field)))
    t = float(rng.random())
    edge = field[i] * (1 - t) + field[(i + 1) % len(field)] * t
    x, y = edge + (field.mean(0) - edge) * inwards
    return float(x), float(y)


def _turned(mask: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    side = int(np.hypot(*mask.shape)) + 2
    matrix = cv2.getRotationMatrix2D((mask.shape[1] / 2, mask.shape[0] / 2), angle, 1.0)
    matrix[0, 2] += side / 2 - mask.shape[1] / 2
    matrix[1, 2] += side / 2 - mask.shape[0] / 2
    return np.asarray(cv2.warpAffine(mask, matrix, (side, side)), dtype=np.uint8)


def draw_marker(image: Image, field: Points, letter: str, rng: Random) -> None:
    """Lead side marker, R or L, sometimes with initials or in a frame."""
    side = float(np.mean(image.shape))
    text = letter + (str(rng.choice(["", "", "", " AB", " 12", " MK"])))
    mask = _text_mask(text, side * float(rng.uniform(0.028, 0.06)), rng, thick=0.14)
    if rng.random() < 0.25:
        cv2.rectangle(mask, (0, 0), (mask.shape[1] - 1, mask.shape[0] - 1), 255, max(1, mask.shape[0] // 16))
    mask = _turned(mask, float(rng.choice([0.0, 0.0, 0.0, 90.0, -90.0])) + float(rng.normal(0, 7)))
    x, y = _spot(field, rng, float(rng.uniform(0.1, 0.3)))
    _blend(
        image,
        mask,
        float(rng.uniform(0.9, 1.05)),
        float(rng.uniform(0.75, 1)),
        int(x) - mask.shape[1] // 2,
        int(y) - mask.shape[0] // 2,
    )


def draw_gauge(image: Image, field: Points, rng: Random) -> str:
    """A measuring ball or a ruler; returns its name."""
    side = float(np.mean(image.shape))
    x, y = _spot(field, rng, float(rng.uniform(0.08, 0.3)))
    if rng.random() < 0.55:
        r = max(2, int(side * float(rng.uniform(0.015, 0.032))))
        mask = np.zeros((2 * r + 3, 2 * r + 3), np.uint8)
        cv2.circle(mask, (r + 1, r + 1), r, 255, -1, cv2.LINE_AA)
        _blend(image, mask, 1.02, float(rng.uniform(0.8, 1)), int(x) - r, int(y) - r)
        return "ball"
    length = int(side * float(rng.uniform(0.3, 0.8)))
    width = max(6, int(side * 0.035))
    mask = np.zeros((width, length), np.uint8)
    line = max(1, round(side / 500))
    gap = max(3.0, side * float(rng.uniform(0.012, 0.03)))
    for k in range(int(length / gap)):
        cv2.line(mask, (int(k * gap), 0), (int(k * gap), width if k % 5 == 0 else width // 2), 255, line)
    cv2.line(mask, (0, 0), (length, 0), 255, line)
    mask = _turned(mask, 90.0 + float(rng.normal(0, 4)) if rng.random() < 0.7 else float(rng.normal(0, 4)))
    _blend(image, mask, 1.0, float(rng.uniform(0.5, 0.95)), int(x) - mask.shape[1] // 2, int(y) - mask.shape[0] // 2)
    return "ruler"


def draw_text(image: Image, lines: list[str], rng: Random) -> None:
    """Burned-in text in a corner, white, black, or white on a black plate."""
    rows, columns = image.shape
    height = max(7.0, float(np.mean(image.shape)) * float(rng.uniform(0.014, 0.024)))
    style = str(rng.choice(["white", "plate", "black"], p=[0.6, 0.3, 0.1]))
    masks = [_text_mask(line, height, np.random.default_rng(1), thick=0.08) for line in lines]
    tall, wide = sum(m.shape[0] for m in masks), max(m.shape[1] for m in masks)
    margin = int(0.015 * columns)
    left = margin if rng.random() < 0.5 else columns - wide - margin
    top = margin if rng.random() < 0.6 else rows - tall - margin
    if style == "plate":
        _blend(image, np.full((tall + 4, wide + 4), 255, np.uint8), 0.0, 1.0, left - 2, top - 2)
    for mask in masks:
        _blend(image, mask, 0.0 if style == "black" else 1.0, 1.0, left, top)
        top += mask.shape[0]


def draw_cue(image: Image, cue: str, rng: Random) -> None:
    """The spurious cue: a small lead shape near the image's edge."""
    rows, columns = image.shape
    s = max(8, int(0.07 * min(rows, columns)))
    mask = np.zeros((s, s), np.uint8)
    w = max(1, s // 7)
    a, b, m = w, s - w - 1, s // 2
    lines = {
        "square": [[(a, a), (b, a), (b, b), (a, b), (a, a)]],
        "triangle": [[(m, a), (b, b), (a, b), (m, a)]],
        "cross": [[(a, a), (b, b)], [(a, b), (b, a)]],
        "bar": [[(a, m), (b, m)]],
        "dots": [[(a, m), (a, m)], [(m, m), (m, m)], [(b, m), (b, m)]],
        "chevron": [[(a, b), (m, a), (b, b)]],
        "diamond": [[(m, a), (b, m), (m, b), (a, m), (m, a)]],
    }
    if cue == "ring":
        cv2.circle(mask, (m, m), m - w, 255, w, cv2.LINE_AA)
    else:
        for points in lines[cue]:
            cv2.polylines(mask, [np.array(points, np.int32)], False, 255, w, cv2.LINE_AA)
    left = int(0.03 * columns) if rng.random() < 0.5 else int(0.97 * columns) - s
    top = int(rng.uniform(0.03, 0.9) * rows)
    _blend(image, mask, 1.0, 1.0, left, min(top, rows - s - 1))
