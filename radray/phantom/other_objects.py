"""Objects of a PACS export that are no radiograph of the skeleton: out-of-domain pictures."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from radray.phantom.projection import Image

Random = np.random.Generator


class OtherObject(NamedTuple):
    """A picture and how its header would honestly declare it."""

    pixels: Image | NDArray[np.uint8]
    """Grey [rows, cols] in [0, 1], or RGB uint8 [rows, cols, 3]."""
    modality: str
    """Its own modality: CT, MG, US, OT, XC."""
    sop_class_uid: str


def _field(rng: Random, shape: tuple[int, int], grain: float) -> Image:
    """Smooth random field, zero mean, unit variance; `grain` is the size of its features as a share of the side."""
    cells = max(2, round(1 / grain))
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    big = np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return np.asarray((big - big.mean()) / (big.std() + np.float32(1e-6)), dtype=np.float32)


def _ellipse(
    shape: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0
) -> Image:
    """Anti-aliased filled ellipse in fractions of the sides, values 0 to 1."""
    mask = np.zeros(shape, np.uint8)
    rows, columns = shape
    cv2.ellipse(
        mask, (int(centre[0] * columns), int(centre[1] * rows)),
        (max(1, int(axes[0] * columns)), max(1, int(axes[1] * rows))),
        angle, 0, 360, 255, -1, cv2.LINE_AA,
    )  # fmt: skip
    return mask.astype(np.float32) / np.float32(255)


def ct_slice(rng: Random, side_px: int) -> OtherObject:
    """Axial CT slice of the trunk: body ellipse, ring of ribs, vertebra, organs or lungs."""
    shape = (side_px, side_px)
    w, h = rng.uniform(0.33, 0.44), rng.uniform(0.23, 0.32)
    image = 0.45 * _ellipse(shape, (0.5, 0.5), (w, h)) + 0.1 * _ellipse(shape, (0.5, 0.5), (w * 0.93, h * 0.9))
    if rng.random() < 0.5:
        for x in (-1, 1):
            image -= 0.45 * _ellipse(shape, (0.5 + x * w * 0.48, 0.48), (w * 0.36, h * 0.62), x * 10)
        image = np.maximum(image, 0.05) + 0.1 * _ellipse(shape, (0.47, 0.45), (w * 0.2, h * 0.3))
    else:
        image += 0.12 * _ellipse(shape, (0.5 - w * 0.45, 0.45), (w * 0.45, h * 0.55), 20)
        for _ in range(5):
            image -= 0.3 * _ellipse(
                shape, (rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.55)), (0.03, 0.02), rng.uniform(0, 180)
            )
    spine = (0.5, 0.5 + h * 0.62)
    image += 0.4 * _ellipse(shape, spine, (0.055, 0.04)) - 0.3 * _ellipse(shape, (0.5, spine[1] + 0.055), (0.02, 0.018))
    image += 0.35 * _ellipse(shape, (0.5, spine[1] + 0.1), (0.012, 0.035))
    for angle in np.linspace(0.15, 2 * np.pi - 0.15, int(rng.integers(10, 18))):
        place = (0.5 + w * 0.9 * float(np.sin(angle)), 0.5 + h * 0.88 * float(np.cos(angle)))
        image += 0.35 * _ellipse(shape, place, (0.035, 0.012), float(np.degrees(-angle)))
    couch = np.zeros(shape, np.uint8)
    cv2.ellipse(
        couch,
        (side_px // 2, int(0.55 * side_px)),
        (int(0.45 * side_px), int(0.32 * side_px)),
        0,
        20,
        160,
        255,
        max(1, side_px // 128),
    )
    image += couch.astype(np.float32) / np.float32(800)
    image += np.float32(0.025) * rng.standard_normal(shape, dtype=np.float32)
    return OtherObject(np.clip(image, 0, 1), "CT", "1.2.840.10008.5.1.4.1.1.2")


def photo(rng: Random, side_px: int) -> OtherObject:
    """Colour photograph, such as a wound documentation: skin, cloth, light."""
    shape = (round(side_px * 0.75), side_px)
    cloth = np.array([rng.uniform(30, 120), rng.uniform(90, 160), rng.uniform(90, 170)], dtype=np.float32)
    skin = np.array([rng.uniform(170, 235), rng.uniform(120, 180), rng.uniform(90, 150)], dtype=np.float32)
    limb = cv2.GaussianBlur(
        _ellipse(shape, (0.5, rng.uniform(0.4, 0.6)), (0.6, rng.uniform(0.18, 0.3)), rng.uniform(-30, 30)), (0, 0), 2
    )
    wound = cv2.GaussianBlur(
        _ellipse(shape, (rng.uniform(0.35, 0.65), 0.5), (0.1, 0.05), rng.uniform(0, 180)), (0, 0), 3
    )
    light = 1 + 0.12 * _field(rng, shape, 0.4) + 0.04 * _field(rng, shape, 0.03)
    colour = cloth * (1 - limb[..., None]) + skin * limb[..., None]
    colour = colour * (1 - 0.7 * wound[..., None]) + np.array([150, 25, 30], np.float32) * 0.7 * wound[..., None]
    colour = colour * light[..., None] + rng.standard_normal((*shape, 1), dtype=np.float32) * 4
    return OtherObject(np.clip(colour, 0, 255).astype(np.uint8), "XC", "1.2.840.10008.5.1.4.1.1.77.1.4")


def document(rng: Random, side_px: int) -> OtherObject:
    """Scan of a form or letter: dark lines of writing on paper, slightly turned."""
    shape = (side_px, round(side_px * 0.71))
    page = np.full(shape, 240, np.uint8)
    y, line = int(0.08 * shape[0]), max(5, shape[0] // 60)
    while y < 0.93 * shape[0]:
        if rng.random() < 0.12:
            y += 2 * line
            cv2.rectangle(page, (int(0.1 * shape[1]), y), (int(0.9 * shape[1]), y + 3 * line), 60, max(1, line // 6))
            y += 5 * line
            continue
        x, end = int(0.1 * shape[1]), int(shape[1] * rng.uniform(0.4, 0.92))
        while x < end:
            word = int(rng.integers(2, 9) * line * 0.6)
            cv2.rectangle(page, (x, y), (min(x + word, end), y + int(line * 0.55)), int(rng.integers(20, 110)), -1)
            x += word + line // 2
        y += int(1.6 * line)
    matrix = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), float(rng.normal(0, 1.5)), 1.0)
    turned = cv2.warpAffine(page, matrix, (shape[1], shape[0]), borderValue=200.0)
    grey = turned.astype(np.float32) / np.float32(255) + 0.02 * _field(rng, shape, 0.3)
    grey += np.float32(0.01) * rng.standard_normal(shape, dtype=np.float32)
    return OtherObject(np.clip(grey, 0, 1), "OT", "1.2.840.10008.5.1.4.1.1.7")


def mammogram(rng: Random, side_px: int) -> OtherObject:
    """Breast from the side of the chest wall: half ellipse, glandular pattern, sometimes the pectoral muscle."""
    shape = (side_px, round(side_px * 0.8))
    breast = _ellipse(shape, (0.0, rng.uniform(0.45, 0.55)), (rng.uniform(0.5, 0.8), rng.uniform(0.33, 0.46)))
    breast = cv2.GaussianBlur(breast, (0, 0), side_px / 40) * breast
    tissue = 0.5 + 0.22 * _field(rng, shape, 0.12) + 0.14 * _field(rng, shape, 0.03) + 0.05 * _field(rng, shape, 0.01)
    image = breast * np.clip(tissue, 0.2, 1)
    if rng.random() < 0.6:
        muscle = np.zeros(shape, np.uint8)
        cv2.fillPoly(muscle, [np.array([(0, 0), (int(0.35 * shape[1]), 0), (0, int(0.5 * shape[0]))], np.int32)], 255)
        image = np.maximum(
            image, cv2.GaussianBlur(muscle, (0, 0), side_px / 80).astype(np.float32) / np.float32(340) * (breast > 0.05)
        )
    image += np.float32(0.012) * rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return OtherObject(np.ascontiguousarray(np.clip(image, 0, 1)), "MG", "1.2.840.10008.5.1.4.1.1.1.2")


def ultrasound(rng: Random, side_px: int) -> OtherObject:
    """B-mode sector with speckle, layers, a cyst and on-screen scales."""
    shape = (round(side_px * 0.75), side_px)
    rows, columns = shape
    sector = np.zeros(shape, np.uint8)
    apex, reach = (columns // 2, int(-0.12 * rows)), int(1.02 * rows)
    cv2.ellipse(sector, apex, (reach, reach), 0, 50, 130, 255, -1)
    cv2.ellipse(sector, apex, (int(0.25 * rows), int(0.25 * rows)), 0, 0, 360, 0, -1)
    speckle = np.hypot(rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(shape, dtype=np.float32))
    speckle = cv2.GaussianBlur(speckle, (0, 0), side_px / 500 + 0.5)
    layers = (
        0.35
        + 0.15 * np.sin(np.linspace(0, rng.uniform(10, 30), rows, dtype=np.float32))[:, None]
        + 0.15 * _field(rng, shape, 0.1)
    )
    cyst = _ellipse(shape, (rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.65)), (0.07, 0.09))
    image = np.clip(layers, 0.05, 1) * speckle * 0.75 * (1 - 0.9 * cyst) * (sector > 0)
    scale = np.zeros(shape, np.uint8)
    for k in range(10):
        cv2.line(
            scale,
            (columns - 20, int(rows * (0.1 + 0.08 * k))),
            (columns - (10 if k % 5 else 4), int(rows * (0.1 + 0.08 * k))),
            220,
            1,
        )
    cv2.rectangle(scale, (8, int(0.1 * rows)), (8 + max(3, columns // 60), int(0.5 * rows)), 150, -1)
    image = np.maximum(image, scale.astype(np.float32) / np.float32(255))
    return OtherObject(np.clip(image, 0, 1), "US", "1.2.840.10008.5.1.4.1.1.6.1")


def test_pattern(rng: Random, side_px: int) -> OtherObject:
    """Quality-assurance picture: grey wedge, line pairs, circles, grid."""
    image = np.full((side_px, side_px), int(rng.integers(60, 160)), np.uint8)
    steps = int(rng.integers(8, 18))
    for k in range(steps):
        left = int(0.1 * side_px + 0.8 * side_px * k / steps)
        cv2.rectangle(
            image,
            (left, int(0.1 * side_px)),
            (int(left + 0.8 * side_px / steps), int(0.2 * side_px)),
            int(255 * k / (steps - 1)),
            -1,
        )
    for k in range(0, side_px, max(8, side_px // int(rng.integers(8, 20)))):
        cv2.line(image, (k, 0), (k, side_px), 200, 1)
        cv2.line(image, (0, k), (side_px, k), 200, 1)
    for k in range(1, int(rng.integers(2, 6))):
        cv2.circle(image, (side_px // 2, side_px // 2), int(0.09 * k * side_px), 20 + 40 * k, max(1, side_px // 200))
    period = max(2, side_px // 128)
    for k in range(12):
        cv2.rectangle(
            image,
            (int(0.3 * side_px) + 2 * k * period, int(0.75 * side_px)),
            (int(0.3 * side_px) + (2 * k + 1) * period, int(0.88 * side_px)),
            250,
            -1,
        )
    grey = image.astype(np.float32) / np.float32(255)
    grey += np.float32(0.01) * rng.standard_normal(grey.shape, dtype=np.float32)
    return OtherObject(np.clip(grey, 0, 1), "OT", "1.2.840.10008.5.1.4.1.1.7")


OTHER_OBJECTS = {
    "ct_slice": ct_slice,
    "photo": photo,
    "document": document,
    "mammogram": mammogram,
    "ultrasound": ultrasound,
    "test_pattern": test_pattern,
}
"""Kind -> function (rng, side_px) that draws it."""
