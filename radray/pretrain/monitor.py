"""A look at the features while they are learned: how well do neighbours, and a linear head, name validation images?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radray.pretrain.backbone import Backbone
from radray.probe.logistic import fit_heads
from radray.probe.neighbours import neighbour_probabilities

BATCH = 64
MONITORED = ("knn_accuracy", "linear_accuracy")
"""What is measured."""


class Monitor:
    """Measures a backbone; the labels are those of the headers, so wrong ones count as errors.

    Args:
        regions: Number of classes.
        bank: UInt8[images, side, side]: labelled training images.
        bank_labels: Int64[images].
        queries: UInt8[images, side, side]: labelled validation images.
        query_labels: Int64[images].
    """

    def __init__(
        self,
        *,
        regions: int,
        bank: NDArray[np.uint8],
        bank_labels: NDArray[np.int64],
        queries: NDArray[np.uint8],
        query_labels: NDArray[np.int64],
    ) -> None:
        self._regions, self._bank, self._queries = regions, bank, queries
        self._bank_labels, self._query_labels = torch.from_numpy(bank_labels), torch.from_numpy(query_labels)

    def __call__(self, backbone: Backbone) -> dict[str, float]:
        """Shares of validation images named rightly by 20 neighbours and by a linear head: two numbers, 0 to 1.

        The backbone is left in evaluation mode.
        """
        bank, queries = _embed(backbone, self._bank), _embed(backbone, self._queries)
        votes = neighbour_probabilities(queries, bank, self._bank_labels, self._regions)
        mean, deviation = bank.mean(dim=0), bank.std(dim=0).clamp_min(1e-6)
        bank, queries = (bank - mean) / deviation, (queries - mean) / deviation
        weights = torch.full((1, len(bank)), 1 / len(bank))
        heads = fit_heads(bank, self._bank_labels, weights, torch.tensor([0.1]), self._regions)
        accuracies = (self._accuracy(votes), self._accuracy(heads.logits(queries)[0]))
        return dict(zip(MONITORED, accuracies, strict=True))

    def _accuracy(self, scores: Tensor) -> float:
        return float((scores.argmax(dim=1) == self._query_labels).double().mean())


def _embed(backbone: Backbone, images: NDArray[np.uint8]) -> Tensor:
    device = next(backbone.parameters()).device
    parts = [
        backbone.embed(torch.from_numpy(images[start : start + BATCH]).to(device)).cpu()
        for start in range(0, len(images), BATCH)
    ]
    return torch.cat(parts)
