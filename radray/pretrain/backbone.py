"""The image encoders: torchvision's networks with one input channel, and a small one.

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


class SmallResNet(nn.Module):
    """ResNet-10 for small images and slow machines: half the usual width, no pooling in the stem.

    He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385, with one basic block a stage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.stages = nn.Sequential(BasicBlock(32, 32), *(_halving(width) for width in (32, 64, 128)))

    def forward(self, images: Tensor) -> Tensor:
        """Float[batch, 1, side, side] to Float[batch, 256]."""
        stem = functional.relu(self.bn1(self.conv1(images)))
        return torch.flatten(functional.adaptive_avg_pool2d(self.stages(stem), 1), 1)


def _halving(width: int) -> BasicBlock:
    """A block that halves the side and doubles the channels."""
    shortcut = nn.Sequential(nn.Conv2d(width, 2 * width, 1, stride=2, bias=False), nn.BatchNorm2d(2 * width))
    return BasicBlock(width, 2 * width, stride=2, downsample=shortcut)


def _one_channel(network: ResNet) -> tuple[nn.Module, int]:
    dimension = network.fc.in_features
    network.conv1 = nn.Conv2d(1, network.conv1.out_channels, kernel_size=7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network, dimension


_BUILDERS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "resnet10": lambda: (SmallResNet(), 256),
    "resnet18": lambda: _one_channel(models.resnet18()),
    "resnet34": lambda: _one_channel(models.resnet34()),
    "resnet50": lambda: _one_channel(models.resnet50()),
}

BACKBONES = tuple(_BUILDERS)
"""Names that `Backbone` takes."""


class Backbone(nn.Module):
    """A network without classifier.

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
        self.network, self.dimension = _BUILDERS[name]()

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
