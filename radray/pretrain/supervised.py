"""The supervised baseline: cross-entropy on the labelled images, end to end, with the views of the other methods."""

from __future__ import annotations

import torch
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn import functional

from radray.pretrain.backbone import Backbone
from radray.pretrain.method import UNLABELLED, Method


class Supervised(Method):
    """Mean cross-entropy over the labelled images of the global batch.

    Args:
        backbone: The network to train.
        regions: Number of classes.
        smoothing: Share of a label's weight that all classes share, 0 to 1: wrong labels are then learned less by heart
            (Lukasik et al., arXiv 2003.02819).
    """

    views = 1

    def __init__(self, backbone: Backbone, regions: int, smoothing: float = 0.0) -> None:
        super().__init__(backbone)
        self.classifier = nn.Linear(backbone.dimension, regions)
        self.smoothing = smoothing

    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:  # noqa: D102
        features = self.backbone(views[0])
        self.embeddings = (features.detach(),)
        logits = self.classifier(features).float()
        total = functional.cross_entropy(
            logits, labels, ignore_index=UNLABELLED, reduction="sum", label_smoothing=self.smoothing
        )
        count = (labels != UNLABELLED).sum()
        if dist.world_size() > 1:
            torch.distributed.all_reduce(count)
        # DDP divides by the number of ranks; the global mean divides by the global count only.
        return torch.div(total * dist.world_size(), count.clamp_min(1))

    def head(self) -> dict[str, Tensor]:  # noqa: D102
        return {"weight": self.classifier.weight, "bias": self.classifier.bias}
