"""From members' logits to the ensemble's probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(probabilities: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """Weighted mean of the members' probabilities, sharpened or softened by a temperature.

    Args:
        probabilities: Float[members, n, classes], each calibrated by its own temperature.
        weights: Float[members], non-negative, sum 1.
        temperature: Above 1 softens.

    Returns:
        Float32[n, classes], rows sum to 1.
    """
    mean = torch.einsum("m,mnc->nc", weights.to(probabilities.dtype), probabilities)
    return soften(mean, temperature)


def soften(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities to the power of 1 / temperature, summing to 1 again.

    Args:
        probabilities: Float[n, classes].
        temperature: Above 0; 1 changes nothing.
    """
    logits = probabilities.clamp_min(1e-30).log() / temperature
    return torch.softmax(logits, dim=-1).float()
