"""SimCLR: pull two views of an image together, push all other images of the global batch away.

Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, arXiv 2002.05709.
"""

from __future__ import annotations

from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from radray.pretrain.backbone import Backbone
from radray.pretrain.method import Method, full_precision


class SimCLR(Method):
    """NT-Xent over the global batch, gathered across ranks.

    Args:
        backbone: The network to train.
        temperature: Of the softmax over similarities, > 0.
    """

    takes_mates = True

    def __init__(self, backbone: Backbone, temperature: float = 0.2) -> None:
        super().__init__(backbone)
        self.projection = SimCLRProjectionHead(backbone.dimension, backbone.dimension, 128)
        self.criterion = NTXentLoss(temperature=temperature, gather_distributed=True)

    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:  # noqa: D102
        first, second = (self.projection(self.backbone(view)).float() for view in views)
        self.embeddings = (first.detach(), second.detach())
        with full_precision(first.device):
            return self.criterion(first, second)  # type: ignore[no-any-return]
