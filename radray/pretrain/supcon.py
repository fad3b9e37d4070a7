"""Supervised contrastive learning: images of one region attract each other, all others repel.

Khosla et al., Supervised Contrastive Learning, arXiv 2004.11362, equation 2 (the sum over positives outside the
logarithm). An image without label is a class of its own: its other view is its only positive, so with no labels at
all the loss is NT-Xent.
"""

from __future__ import annotations

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.utils import dist
from torch import Tensor
from torch.nn import functional

from radray.pretrain.backbone import Backbone
from radray.pretrain.method import UNLABELLED, Method, full_precision, gather_labels, gather_rows


def supervised_contrastive_loss(first: Tensor, second: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss of this rank's rows against the global batch.

    Args:
        first: Float[batch, dimension]; projections of the first views, any length.
        second: Float[batch, dimension]; projections of the second views of the same images.
        labels: Int64[batch], `UNLABELLED` where there is none.
        temperature: > 0.

    Returns:
        Float[] (scalar): mean over the 2 × batch anchors of this rank.
    """
    batch = len(labels)
    own = functional.normalize(torch.cat([first, second]), dim=1)
    everyone = torch.cat([gather_rows(own[:batch]), gather_rows(own[batch:])])
    classes = gather_labels(labels)
    total = len(classes)
    # An unlabelled image gets a class that no other image has.
    classes = torch.where(classes == UNLABELLED, -2 - torch.arange(total, device=classes.device), classes)
    start = dist.rank() * batch
    mine = classes[start : start + batch].repeat(2)
    columns = torch.arange(start, start + batch, device=labels.device)
    itself = torch.cat([columns, columns + total])
    logits = own @ everyone.T / temperature
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    positive = (mine[:, None] == classes.repeat(2)[None, :]).scatter(1, itself[:, None], False)
    log_share = logits - logits.logsumexp(dim=1, keepdim=True)
    return -(log_share.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()


class SupCon(Method):
    """Supervised contrastive loss over the global batch, gathered across ranks.

    Args:
        backbone: The network to train.
        temperature: Of the softmax over similarities, > 0.
    """

    def __init__(self, backbone: Backbone, temperature: float = 0.2) -> None:
        super().__init__(backbone)
        self.projection = SimCLRProjectionHead(backbone.dimension, backbone.dimension, 128)
        self.temperature = temperature

    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:  # noqa: D102
        first, second = (self.projection(self.backbone(view)).float() for view in views)
        self.embeddings = (first.detach(), second.detach())
        with full_precision(first.device):
            return supervised_contrastive_loss(first, second, labels, self.temperature)
