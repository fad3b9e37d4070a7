"""Wrong labels: which ones heads trained on other patients contradict, and what wrong labels are like in an archive."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 0.15
"""Largest share of wrong labels that is believed, as in the worst archives studied. Regions that a network cannot tell
apart look like wrong labels too; were all of that believed, its probabilities would be too sure."""
_SMOOTHING = 1.0
"""Wrong labels of every class, spread evenly over the others, that are added to those found."""


@dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """How labels come to be wrong. They are not wrong at random: wrists are called hands, seldom skulls."""

    share: float
    """Of all labels that are wrong, 0 to 1."""
    confusion: Tensor
    """Float32[classes, classes]: how often a wrong label of each class (row) names each other one; rows sum to 1."""

    def likelihood(self, probabilities: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensor:
        """Of the labels, where the image's region has the given probabilities.

        Args:
            probabilities: Float[..., n, classes].
            labels: Int64[n].
            share: Float[], instead of the known one.

        Returns:
            Float[..., n].
        """
        share = torch.tensor(self.share, dtype=probabilities.dtype) if share is None else share
        wanted = labels.expand(probabilities.shape[:-1])[..., None]
        right = probabilities.gather(-1, wanted)[..., 0]
        wrong = (probabilities * self.confusion.to(probabilities.dtype).T[labels]).sum(dim=-1)
        return (1 - share) * right + share * wrong


def estimate_noise(probabilities: Tensor, labels: Tensor, wrong: Tensor) -> LabelNoise:
    """What the labels found to be wrong say about wrong labels.

    Args:
        probabilities: Float32[n, classes], from heads that did not see the image's patient.
        labels: Int64[n].
        wrong: Bool[n], as from `contradicted`.
    """
    classes = probabilities.shape[1]
    # What the image shows instead of its label, as far as anyone knows.
    shown = probabilities[wrong].scatter(1, labels[wrong][:, None], 0.0)
    counts = torch.zeros(classes, classes)
    counts.index_add_(1, labels[wrong], (shown / shown.sum(dim=1, keepdim=True).clamp_min(1e-12)).T)
    confusion = counts + _SMOOTHING / (classes - 1)
    confusion.fill_diagonal_(0.0)
    share = min(MOST, float(wrong.float().mean())) if len(wrong) else 0.0
    return LabelNoise(share=share, confusion=confusion / confusion.sum(dim=1, keepdim=True))


def contradicted(probabilities: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """Which labels are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

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
