"""What the ensemble's strongest network looks at: guided Grad-CAM (Selvaraju et al., arXiv 1610.02391), by captum."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import GuidedGradCam, LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from radray.ensemble.bundle import Bundle, Member

BORDER = 0.1
"""Width of the frame whose share of the attention is told, of the side."""
_LEAST = 1e-6
Maps = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def attention(bundle: Bundle, images: Pixels, regions: Sequence[int]) -> Maps | None:
    """Where the reasons for a region lie in an image.

    Args:
        bundle: On the CPU; of its members the one with the largest share that has feature maps is asked.
        images: UInt8[n, side, side], cleaned as the bundle says.
        regions: The region asked about, of each image.

    Returns:
        Float32[n, input_px, input_px], 0 to 1; None where no member has feature maps.
    """
    if (asked := _strongest(bundle)) is None:
        return None
    model, layer = asked
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        found = GuidedGradCam(model, layer).attribute(
            model.read(images).requires_grad_(), target=torch.tensor(list(regions)), interpolate_mode="bilinear"
        )
    return _scale(found)


def coarse_attention(bundle: Bundle, images: Pixels, regions: Sequence[int]) -> Maps | None:
    """The same by Grad-CAM alone: as coarse as the network's last maps, at a sixth of the time.

    Args:
        bundle: As for `attention`.
        images: UInt8[n, side, side], cleaned as the bundle says.
        regions: The region asked about, of each image.

    Returns:
        Float32[n, height, width] of the last maps, 0 to 1; None where no member has feature maps.
    """
    if (asked := _strongest(bundle)) is None:
        return None
    model, layer = asked
    target = torch.tensor(list(regions))
    return _scale(LayerGradCam(model, layer).attribute(model.read(images), target=target, relu_attributions=True))


def _strongest(bundle: Bundle) -> tuple[_Explained, nn.Module] | None:
    """The member with the largest share that has feature maps, and the layer they come from."""
    for member in sorted(bundle.members, key=lambda each: -each.share):
        model = _Explained(member)
        if (layer := model.last_maps()) is not None:
            return model, layer
    return None


def _scale(found: Tensor) -> Maps:
    """Float[n, 1, height, width] to 0 to 1, the strongest half percent of each image at 1."""
    positive = found[:, 0].clamp_min(0).detach()
    strongest = positive.flatten(1).quantile(0.995, dim=1).clamp_min(_LEAST)
    maps: Maps = (positive / strongest[:, None, None]).clamp_max(1).numpy()
    return maps


class _Explained(nn.Module):
    """Grey images to a member's logits, so built that gradients can be read from it."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(member.backbone).eval()
        for module in list(self.backbone.modules()):
            if isinstance(module, nn.ReLU):
                module.inplace = False
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU6):
                    setattr(module, name, nn.Sequential(nn.ReLU(), _AtMostSix()))
        self._member = member

    def forward(self, grey: Tensor) -> Tensor:
        features = self.backbone(grey)
        if not self._member.own_head:
            # The signed square root of `normalise`, with a slope at 0.
            rooted = features.sign() * (features.abs() + _LEAST).sqrt()
            features = (functional.normalize(rooted, dim=1) - self._member.mean) / self._member.scale
        return functional.linear(features, self._member.weight, self._member.bias)

    def read(self, images: Pixels) -> Tensor:
        """UInt8[n, side, side] to what the network takes: Float32[n, 1, input_px, input_px]."""
        grey = torch.from_numpy(images.copy())[:, None].float() / 255
        side = self.backbone.side_px
        if side != grey.shape[-1]:
            grey = functional.interpolate(grey, size=side, mode="bilinear", antialias=True, align_corners=False)
        return grey

    def last_maps(self) -> nn.Module | None:
        """The last layer whose maps still show where things are; None for a network without maps."""
        network, name = self.backbone.network, self.backbone.name
        if name == "resnet10":
            return network.get_submodule("stages.2")
        if name.startswith("resnet"):
            return network.get_submodule("layer4")
        if name == "efficientnet_lite0":
            return network.get_submodule("blocks")
        return network.get_submodule("features.7") if name == "convnext_tiny" else None


class _AtMostSix(nn.Module):
    """The other half of ReLU6: captum guides gradients through ReLU alone."""

    def forward(self, features: Tensor) -> Tensor:
        return features.clamp_max(6)


def border_share(maps: Maps) -> npt.NDArray[np.float64]:
    """Share of each map's attention in the frame along the image's edges (it covers 36 % of the area): Float64[n]."""
    width = max(1, round(BORDER * maps.shape[-1]))
    inside = maps[:, width:-width, width:-width].sum(axis=(1, 2), dtype=np.float64)
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    share: npt.NDArray[np.float64] = 1 - inside / np.maximum(total, _LEAST)
    return share
