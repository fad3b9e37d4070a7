"""The kNN probe: neighbours vote with weights exp(similarity / temperature), as in Wu et al., arXiv 1805.01978."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbour_probabilities(
    queries: Tensor, bank: Tensor, labels: Tensor, classes: int, *, neighbours: int = 20, temperature: float = 0.07
) -> Tensor:
    """Class votes of the nearest bank images.

    Args:
        queries: Float32[n, d]; made length 1 here.
        bank: Float32[m, d]; made length 1 here.
        labels: Int64[m] of the bank.
        classes: Number of classes.
        neighbours: How many vote (all where the bank is smaller).
        temperature: Smaller lets the nearest dominate.

    Returns:
        Float32[n, classes], rows sum to 1.
    """
    queries = torch.nn.functional.normalize(queries, dim=1)
    similarity = queries @ torch.nn.functional.normalize(bank, dim=1).T
    nearest = similarity.topk(min(neighbours, len(bank)), dim=1)
    votes = torch.softmax(nearest.values / temperature, dim=1)
    return torch.zeros(len(queries), classes, device=queries.device).scatter_add_(1, labels[nearest.indices], votes)
