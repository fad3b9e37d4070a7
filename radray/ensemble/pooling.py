"""From members' logits to the ensemble's probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-6
"""Probability below which a member's doubt no longer counts: none of them can veto a class alone."""


def pool(probabilities: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """Weighted geometric mean of the members' probabilities, sharpened or softened by a temperature.

    The logarithmic opinion pool (Genest and Zidek, Combining Probability Distributions, Statistical Science 1986).

    Args:
        probabilities: Float[members, n, classes], each calibrated by its own temperature.
        weights: Float[members], non-negative, sum 1.
        temperature: Above 1 softens.

    Returns:
        Float32[n, classes], rows sum to 1.
    """
    logits = torch.einsum("m,mnc->nc", weights.to(probabilities.dtype), probabilities.clamp_min(LEAST).log())
    return torch.softmax(logits / temperature, dim=-1).float()
