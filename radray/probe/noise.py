"""Training labels that heads trained on other patients contradict (Northcutt et al., arXiv 1911.00068)."""

from __future__ import annotations

import torch
from torch import Tensor


def contradicted(probabilities: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """Which labels are probably wrong, by confident learning.

    A class counts as confidently seen where its probability reaches the mean probability it has on its own images.
    A label is contradicted where the likeliest confidently seen class is another one and leads by `margin`.

    Args:
        probabilities: Float32[n, classes], from heads that did not see the image's patient.
        labels: Int64[n].
        margin: Least lead over the label's own probability.

    Returns:
        Bool[n].
    """
    classes = probabilities.shape[1]
    given = probabilities.gather(1, labels[:, None])[:, 0]
    total = torch.zeros(classes).scatter_add_(0, labels, given)
    counts = torch.bincount(labels, minlength=classes)
    thresholds = torch.where(counts > 0, total / counts.clamp_min(1), 2.0)
    confident = torch.where(probabilities >= thresholds, probabilities, 0.0)
    best, region = confident.max(dim=1)
    return (best > 0) & (region != labels) & (best - given >= margin)
