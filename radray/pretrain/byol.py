"""BYOL: predict one view's projection by a slowly moving copy of the network from the other view, without negatives.

Grill et al., Bootstrap Your Own Latent, arXiv 2006.07733.
"""

from __future__ import annotations

import copy

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor

from radray.pretrain.backbone import Backbone
from radray.pretrain.method import Method, full_precision

STEPS = 10_000
"""Resolution of the momentum schedule."""


class BYOL(Method):
    """Negative cosine similarity between prediction and target, both ways.

    Args:
        backbone: The online network.
        base_momentum: Momentum of the target at the start; a cosine takes it to 1 at the end.
    """

    takes_mates = True

    def __init__(self, backbone: Backbone, base_momentum: float = 0.98) -> None:
        super().__init__(backbone)
        self.projection = BYOLProjectionHead(backbone.dimension, 1024, 256)
        self.prediction = BYOLPredictionHead(256, 1024, 256)
        self.target_backbone = copy.deepcopy(backbone)
        self.target_projection = copy.deepcopy(self.projection)
        deactivate_requires_grad(self.target_backbone)
        deactivate_requires_grad(self.target_projection)
        self.base_momentum = base_momentum
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:  # noqa: D102
        projections = [self.projection(self.backbone(view)) for view in views]
        predictions = [self.prediction(each).float() for each in projections]
        self.embeddings = tuple(each.detach() for each in projections)
        with torch.no_grad():
            targets = [self.target_projection(self.target_backbone(view)).float() for view in views]
        with full_precision(views[0].device):
            loss = self.criterion(predictions[0], targets[1]) + self.criterion(predictions[1], targets[0])
            return loss / 2  # type: ignore[no-any-return]

    def start_from_backbone(self) -> None:  # noqa: D102
        self.target_backbone = copy.deepcopy(self.backbone)
        deactivate_requires_grad(self.target_backbone)

    def after_step(self, progress: float) -> None:  # noqa: D102
        momentum = cosine_schedule(int(progress * STEPS), STEPS, self.base_momentum, 1.0)
        update_momentum(self.backbone, self.target_backbone, m=momentum)
        update_momentum(self.projection, self.target_projection, m=momentum)
