"""What the four methods share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from lightly.utils import dist
from torch import Tensor, nn

from radray.pretrain.backbone import Backbone

UNLABELLED = -1
"""Class index of an image without label."""


class Method(nn.Module, ABC):
    """A backbone, its heads and a loss over views of one batch."""

    views: int = 2
    """Views it wants of every image."""
    takes_mates: bool = False
    """Whether its second view may come from another image of the same study."""
    embeddings: tuple[Tensor, ...] = ()
    """Float[batch, dimension] of each view of the last batch, without gradient: what the loss looked at."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:
        """The loss of this rank's slice of the global batch.

        Averaged over ranks (as DDP averages gradients) it is the loss of the joined batch.

        Args:
            views: `self.views` tensors, each Float[batch, 1, side, side].
            labels: Int64[batch], `UNLABELLED` where there is none.

        Returns:
            Float[] (scalar).
        """

    def after_step(self, progress: float) -> None:
        """Called after every optimiser step with the share of the training that is done; BYOL moves its target here."""

    def start_from_backbone(self) -> None:
        """Called when the backbone got other weights than it was built with; BYOL copies them to its target."""

    def head(self) -> dict[str, Tensor] | None:
        """The supervised head (`weight`, `bias`), or None."""
        return None


def full_precision(device: torch.device) -> torch.autocast:
    """A context in which a loss is computed in float32: in bfloat16 similarities keep two digits only."""
    return torch.autocast(device.type, enabled=False)


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks, in rank order, with gradients.

    Args:
        rows: Float[batch, dimension], as many on every rank.

    Returns:
        Float[world × batch, dimension].
    """
    return torch.cat(list(dist.gather(rows)), dim=0) if dist.world_size() > 1 else rows


def gather_labels(labels: Tensor) -> Tensor:
    """Class indices of all ranks, in rank order: Int64[world × batch]."""
    if dist.world_size() == 1:
        return labels
    parts = [torch.empty_like(labels) for _ in range(dist.world_size())]
    torch.distributed.all_gather(parts, labels)
    return torch.cat(parts, dim=0)
