"""Which images a person looks at next: those most probably wrong, or those that teach most; and the blind controls."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_POOL = 20_000
"""Doubtful images that a batch to learn from is chosen among."""
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def draw_controls(unsuspected: Indices, count: int, seed: int) -> Indices:
    """Some of the labels that are not suspected, each with the same probability, in random order.

    Args:
        unsuspected: Int64 [m], places.
        count: How many; all where there are fewer.
        seed: Of the draw.
    """
    return np.random.default_rng(seed).permutation(unsuspected)[:count]


def teaching_order(points: npt.NDArray[np.float32], doubt: Floats, count: int) -> Indices:
    """A batch to learn from: doubtful images, each unlike those before it.

    Farthest first (Sener and Savarese, arXiv 1708.00489), with the doubt as weight.

    Args:
        points: Float32 [n, d], rows of length 1.
        doubt: Float64 [n], 0 or more: what a label would tell.
        count: Size of the batch.

    Returns:
        Int64 [count or fewer], places in the order chosen.
    """
    some = np.argsort(-doubt, kind="stable")[:_POOL]
    some = some[doubt[some] > 0]
    far = np.ones(len(some))
    chosen = []
    for _ in range(min(count, len(some))):
        best = int(np.argmax(far * doubt[some]))
        chosen.append(int(some[best]))
        far = np.minimum(far, (1 - points[some] @ points[some[best]]).astype(np.float64).clip(0, 1))
        far[best] = 0
    return np.array(chosen, np.int64)


def entropy(probabilities: Floats) -> Floats:
    """Of each row, natural logarithm: float64 [n]."""
    found: Floats = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
    return found
