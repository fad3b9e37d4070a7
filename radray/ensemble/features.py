"""From images to the features that heads and the outlier score work on: one way for probing and predicting."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from radray.pretrain.backbone import Backbone

CPU_IMAGES = 16
"""Images that a CPU computes together at most: what more of them leave behind falls out of its caches."""


def fold_batch_norm(backbone: Backbone) -> Backbone:
    """A copy for evaluation whose batch normalisation is part of the convolutions before it: the same but for rounding.

    EfficientNet-Lite0 is half as fast again then on a CPU; networks with other normalisation come back as a copy.
    """
    copy = deepcopy(backbone).eval()
    for parent in list(copy.modules()):
        children = list(parent.named_children())
        for (name, first), (following, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(first, second))
                setattr(parent, following, nn.Identity())
    return copy.to(memory_format=torch.channels_last)


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
    if backbone.training:
        backbone.eval()  # a walk through all modules, which costs as much as a tenth of one image
    if images.is_cpu and len(images) > CPU_IMAGES:
        parts = torch.tensor_split(images, -(-len(images) // CPU_IMAGES))
        return torch.cat([encode(backbone, part, views) for part in parts])
    return encode(backbone, images, views)


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
