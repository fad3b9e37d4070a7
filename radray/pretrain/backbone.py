"""The image encoders: torchvision's networks with one input channel.

Every image is standardised by its own mean and standard deviation before the first convolution, in training and in
use alike: window, exposure and detector gain differ from hospital to hospital and must not carry the label.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision.models as models
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, ResNet

from radray.errors import ConfigError


def _resnet10() -> ResNet:
    return ResNet(BasicBlock, [1, 1, 1, 1])


_BUILDERS: dict[str, Callable[[], ResNet]] = {
    "resnet10": _resnet10,
    "resnet18": models.resnet18,
    "resnet34": models.resnet34,
    "resnet50": models.resnet50,
}

BACKBONES = tuple(_BUILDERS)
"""Names that `Backbone` takes."""


class Backbone(nn.Module):
    """A torchvision network without its classifier.

    Args:
        name: One of `BACKBONES`.
        side_px: Side of the images it is trained on; `embed` shrinks larger ones to it.

    Raises:
        ConfigError: Unknown name.
    """

    def __init__(self, name: str, side_px: int) -> None:
        super().__init__()
        if name not in _BUILDERS:
            raise ConfigError(f"backbone {name!r} is unknown; choose one of {', '.join(BACKBONES)}")
        self.name = name
        self.side_px = side_px
        network = _BUILDERS[name]()
        network.conv1 = nn.Conv2d(1, network.conv1.out_channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.dimension: int = network.fc.in_features
        network.fc = nn.Identity()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Features of float images.

        Args:
            images: Float[batch, 1, side, side], any range.

        Returns:
            Float[batch, dimension].
        """
        return self.network(standardise(images))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Features of stored images, in evaluation mode, float32.

        Args:
            images: UInt8[batch, side, side], on the device of the network.

        Returns:
            Float32[batch, dimension].
        """
        self.eval()
        grey = images[:, None].float().div_(255)
        if grey.shape[-1] != self.side_px:
            grey = functional.interpolate(grey, size=self.side_px, mode="bilinear", antialias=True, align_corners=False)
        return self(grey).float()  # type: ignore[no-any-return]


def standardise(images: Tensor) -> Tensor:
    """Each image minus its mean, divided by its standard deviation (at least 1/64 of the range)."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    deviation = images.std(dim=(-2, -1), keepdim=True)
    return (images - mean) / deviation.clamp_min(1 / 64)
