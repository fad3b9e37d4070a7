"""Images that are another's copy or nearly so: hashes and features propose pairs, their fine detail confirms them.

Radiographs of one region look alike: of the pairs of 4,373 real ones whose perceptual hashes differ in at most 4 of 64
bits, one in ten was the same picture. What two exposures never share is the fine detail.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from radray.audit.neighbours import Neighbours
from radray.images.near_duplicates import Pairs, find_near_pairs
from radray.images.reading import load_pictures

EXACT = "exact"
SAME_DETAIL = 0.7
"""Correlation of the fine detail from which on two images are one: on real radiographs, different exposures of one
region lay below .65, copies under other compression, crop or shift above .75."""
ALIKE = 0.9
"""Cosine similarity of the features from which on a pair is looked at."""
_NEAREST = 3
"""Neighbours of each image that are looked at."""
_BLOCK = 2_000
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)
_TRIM = 0.12
"""Share of the smaller image that is left away on each side, so that the rest may be shifted."""
Indices = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]


class Likeness(NamedTuple):
    """A confirmed pair of images, `first` before `second`."""

    first: int
    second: int
    kind: str
    """exact (equal pixels), near (perceptual hashes) or features."""
    detail: float
    """Correlation of the fine detail, up to 1."""


def propose_pairs(
    hashes: Indices, hashed: Indices, neighbours: Neighbours, max_bits: int
) -> dict[tuple[int, int], str]:
    """Pairs of images that may be the same: (first, second) → kind, the likeliest first.

    Args:
        hashes: Int64 [m], perceptual hashes.
        hashed: Int64 [m], whose they are.
        neighbours: Of all images.
        max_bits: Bits in which near hashes may differ.
    """
    near: Pairs = find_near_pairs(hashes, max_bits)
    order = np.argsort(near.distance, kind="stable")
    pairs = zip(hashed[near.first[order]].tolist(), hashed[near.second[order]].tolist(), strict=True)
    found = dict.fromkeys(((min(pair), max(pair)) for pair in pairs), "near")
    rows, columns = np.nonzero(neighbours.similarities[:, :_NEAREST] >= ALIKE)
    likeness = neighbours.similarities[rows, columns]
    for place in np.argsort(-likeness, kind="stable"):
        one, other = int(rows[place]), int(neighbours.indices[rows[place], columns[place]])
        found.setdefault((min(one, other), max(one, other)), "features")
    return found


def confirm_pairs(
    proposed: dict[tuple[int, int], str], row_ids: Indices, images_url: str, limit: int
) -> tuple[list[Likeness], int]:
    """Those of the first `limit` proposed pairs whose fine detail is the same, and how many pairs were not looked at.

    Args:
        proposed: From `propose_pairs`.
        row_ids: Int64 [n], keys of all images.
        images_url: The images table, for the pictures.
        limit: Pairs looked at.
    """
    pairs = list(proposed.items())[:limit]
    found = []
    for start in range(0, len(pairs), _BLOCK):
        some = pairs[start : start + _BLOCK]
        pictures = load_pictures(images_url, {int(row_ids[place]) for pair, _ in some for place in pair})
        details: dict[int, npt.NDArray[np.float32]] = {}
        for (one, other), kind in some:
            first, second = (pictures.get(int(row_ids[place])) for place in (one, other))
            if first is None or second is None:
                continue
            if one not in details:
                details[one] = fine_detail(first)
            score = detail_likeness(details[one], second)
            if score >= SAME_DETAIL:
                found.append(Likeness(one, other, kind, score))
    return found, len(proposed) - len(pairs)


def fine_detail(image: Picture) -> npt.NDArray[np.float32]:
    """What is finer than a few pixels, at even contrast all over the image; 0 outside the exposed part.

    Args:
        image: UInt8 [side, side].

    Returns:
        Float32 [side, side].
    """
    grey = image.astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 2.5)
    strength = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 4.0) + 4.0)
    inside = cv2.erode((image > 8).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.asarray(np.where(inside, fine / strength, 0), np.float32)


def detail_likeness(detail: npt.NDArray[np.float32], image: Picture) -> float:
    """Largest normalised correlation of an image's detail with another image, shifted and up to a fifth smaller.

    Args:
        detail: Float32 [side, side], from `fine_detail`.
        image: UInt8 [side, side], the other image.

    Returns:
        −1 to 1; 0 where there is no detail.
    """
    best = 0.0
    for scale in _SCALES:
        side = round(len(detail) * scale)
        trim = round(side * _TRIM)
        smaller = fine_detail(np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8))
        inner = smaller[trim : side - trim, trim : side - trim]
        if inner.std() < 1e-3 or detail.std() < 1e-3:
            continue
        best = max(best, float(cv2.matchTemplate(detail, inner, cv2.TM_CCOEFF_NORMED).max()))
    return best
