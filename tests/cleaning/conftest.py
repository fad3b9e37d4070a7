"""A limb, drawn."""

import cv2
import numpy as np
import pytest


def draw_limb(rows=400, columns=360, seed=0):
    """A limb with a bone on grey air, in the pose of a radiograph."""
    rng = np.random.default_rng(seed)
    image = np.full((rows, columns), 0.25, np.float32)
    cv2.ellipse(image, (columns // 2, rows // 2), (columns // 4, rows), 8, 0, 360, 0.5, -1)
    cv2.ellipse(image, (columns // 2, rows // 2), (columns // 12, rows), 8, 0, 360, 0.8, -1)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    return np.clip(image + rng.normal(0, 0.01, image.shape), 0, 1).astype(np.float32)


@pytest.fixture
def limb():
    return draw_limb


def overlap(first, second, shape):
    """Intersection over union by counting pixels one by one: the slow way."""
    masks = []
    for polygon in (first, second):
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.round(np.asarray(polygon) * 16 - 8).astype(np.int32)], 1, shift=4)
        masks.append(mask)
    return np.logical_and(*masks).sum() / np.logical_or(*masks).sum()
