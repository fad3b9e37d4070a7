"""From images to the features that heads and the outlier score work on: one way for probing and predicting."""

from __future__ import annotations

import torch
from torch import Tensor

from radray.pretrain.backbone import Backbone


@torch.inference_mode()
def embed(backbone: Backbone, images: Tensor, views: tuple[str, ...] = ("identity",)) -> Tensor:
    """Backbone features, averaged over views.

    Args:
        backbone: Put into evaluation mode, on the device of the images.
        images: UInt8[n, side, side].
        views: Some of `radray.ensemble.views.VIEWS`.

    Returns:
        Float32[n, dimension].
    """
    return encode(backbone.eval(), images, views)


def encode(backbone: Backbone, images: Tensor, views: tuple[str, ...]) -> Tensor:
    """What `embed` computes, in whatever mode the network is, and with gradients."""
    total: Tensor | None = None
    for view in views:
        seen = images.flip(-1) if view == "flip" else images
        features = backbone.encode(seen)
        total = features if total is None else total + features
    if total is None:
        raise ValueError("no views were given")
    return total / len(views)


def normalise(features: Tensor) -> Tensor:
    """Signed square root, then length 1: tames the heavy tail of pooled ReLU features and takes out their gain.

    Args:
        features: Float[..., dimension].

    Returns:
        Float32[..., dimension]; a zero vector stays zero.
    """
    features = features.float()
    return torch.nn.functional.normalize(features.sign() * features.abs().sqrt(), dim=-1)
