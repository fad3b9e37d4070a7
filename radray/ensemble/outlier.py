"""How far an image lies from the training images: distance to its nearest neighbours, read as a percentile.

Deep nearest neighbours for out-of-distribution detection, Sun et al., arXiv 2204.06507.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 5
"""Neighbours whose cosine distance is averaged."""


def neighbour_distance(points: Tensor, bank: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Mean cosine distance to the nearest `neighbours` of the bank.

    Args:
        points: Float32[n, d], each of length 1.
        bank: Float32[m, d], each of length 1; fewer than `neighbours` are all used.
        neighbours: How many.

    Returns:
        Float32[n], 0 (a copy) to 2.
    """
    similarity = points @ bank.T
    return 1 - similarity.topk(min(neighbours, bank.shape[0]), dim=1).values.mean(dim=1)


def percentile(values: Tensor, reference: Tensor) -> Tensor:
    """Share of the reference below each value; values beyond the reference keep their order in the last step.

    Args:
        values: Float[n].
        reference: Float[r], sorted, r ≥ 1.

    Returns:
        Float32[n] in [0, 1): r / (r + 1) at the largest reference value, growing towards 1 beyond it.
    """
    size = reference.shape[0]
    values, reference = values.double(), reference.double()
    above = torch.searchsorted(reference, values.contiguous(), right=True)
    low = reference[(above - 1).clamp_min(0)]
    high = reference[above.clamp_max(size - 1)]
    within = ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    inside = torch.where(above == 0, torch.zeros_like(values), (above + within) / (size + 1))
    spread = (reference[-1] - reference[size // 2]).clamp_min(1e-6)
    beyond = (size + 1 - torch.exp(-(values - reference[-1]).clamp_min(0) / spread)) / (size + 1)
    return torch.where(above == size, beyond, inside).float()
