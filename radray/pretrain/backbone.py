"""The image encoders: torchvision's networks with one input channel, and two small ones.

Every image is standardised by its own mean and standard deviation before the first convolution, in training and in
use alike: window, exposure and detector gain differ from hospital to hospital and must not carry the label.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from radray.errors import ConfigError
from radray.pretrain import efficientnet_lite


class SmallResNet(nn.Module):
    """ResNet-10 for small images and slow machines: a narrow network that spends its time where CPUs are fast.

    He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385, with two basic blocks at a quarter of the
    side, one at an eighth, one at a sixteenth. Pixels go two by two into channels, for a convolution of one is slow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential(
            _Block(32, 64, 64, stride=2),
            _Block(64, 64, 64, stride=1),
            _Block(64, 128, 128, stride=2),
            _Block(128, 128, 256, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Float[batch, 1, side, side] to Float[batch, 256]."""
        images = functional.pad(images, (0, images.shape[-1] % 2, 0, images.shape[-2] % 2))
        return torch.flatten(functional.adaptive_avg_pool2d(self.stages(self.stem(images)), 1), 1)


class _Block(nn.Module):
    """A basic residual block with a width of its own between the two convolutions."""

    def __init__(self, taken: int, inner: int, given: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(taken, inner, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, given, 3, padding=1, bias=False),
            nn.BatchNorm2d(given),
        )
        self.output = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or taken != given:
            self.shortcut = nn.Sequential(nn.Conv2d(taken, given, 1, stride=stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, features: Tensor) -> Tensor:
        rectified: Tensor = self.output(self.residual(features) + self.shortcut(features))
        return rectified


def _resnet(name: str) -> tuple[nn.Module, int]:
    """One of torchvision's ResNets for one channel, without classifier; and its feature dimension."""
    # Imported here: torchvision brings torch's compiler with it, two seconds for every process that needs neither.
    from torchvision.models import resnet

    network: resnet.ResNet = getattr(resnet, name)()
    dimension = network.fc.in_features
    network.conv1 = nn.Conv2d(1, network.conv1.out_channels, kernel_size=7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network, dimension


def _convnext() -> tuple[nn.Module, int]:
    """ConvNeXt-Tiny (Liu et al., arXiv 2201.03545) for one channel; its closing normalisation stays."""
    from torchvision.models import convnext_tiny

    network = convnext_tiny()
    stem, closing = network.features[0], network.classifier
    stem[0] = nn.Conv2d(1, stem[0].out_channels, kernel_size=4, stride=4)
    dimension = closing[2].in_features
    closing[2] = nn.Identity()
    return network, dimension


_PATCH_PX = 16


def _vision_transformer(side_px: int) -> tuple[nn.Module, int]:
    """ViT-S/16 (Dosovitskiy et al., arXiv 2010.11929; widths of Touvron et al., arXiv 2012.12877) for one channel."""
    if side_px % _PATCH_PX:
        raise ConfigError(f"vit_s cuts images into patches of {_PATCH_PX} pixels; --side-px {side_px} is no multiple")
    from torchvision.models import VisionTransformer

    width = 384
    network = VisionTransformer(side_px, _PATCH_PX, num_layers=12, num_heads=6, hidden_dim=width, mlp_dim=4 * width)
    network.conv_proj = nn.Conv2d(1, width, kernel_size=_PATCH_PX, stride=_PATCH_PX)
    network.heads = nn.Identity()
    return network, width


_BUILDERS: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "resnet10": lambda side_px: (SmallResNet(), 256),
    "resnet18": lambda side_px: _resnet("resnet18"),
    "resnet34": lambda side_px: _resnet("resnet34"),
    "resnet50": lambda side_px: _resnet("resnet50"),
    "convnext_tiny": lambda side_px: _convnext(),
    "vit_s": _vision_transformer,
    "efficientnet_lite0": lambda side_px: (efficientnet_lite.EfficientNetLite0(), efficientnet_lite.DIMENSION),
}

BACKBONES = tuple(_BUILDERS)
"""Names that `Backbone` takes."""


class Backbone(nn.Module):
    """A network without classifier.

    Args:
        name: One of `BACKBONES`.
        side_px: Side of the images it is trained on; `embed` shrinks larger ones to it.

    Raises:
        ConfigError: Unknown name, or a side that the network does not take.
    """

    def __init__(self, name: str, side_px: int) -> None:
        super().__init__()
        if name not in _BUILDERS:
            raise ConfigError(f"backbone {name!r} is unknown; choose one of {', '.join(BACKBONES)}")
        self.name = name
        self.side_px = side_px
        self.network, self.dimension = _BUILDERS[name](side_px)

    def forward(self, images: Tensor) -> Tensor:
        """Features of float images.

        Args:
            images: Float[batch, 1, side, side], any range.

        Returns:
            Float[batch, dimension].
        """
        return self.network(standardise(images))  # type: ignore[no-any-return]

    def freeze(self) -> None:
        """Take the first half of the network out of training.

        Raises:
            ConfigError: The network has no such half.
        """
        if not isinstance(self.network, efficientnet_lite.EfficientNetLite0):
            raise ConfigError(f"--frozen is for efficientnet_lite0; {self.name} trains whole")
        self.network.freeze()

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Features of stored images, in evaluation mode, float32.

        Args:
            images: UInt8[batch, side, side], on the device of the network.

        Returns:
            Float32[batch, dimension].
        """
        self.eval()
        return self.encode(images)

    def encode(self, images: Tensor) -> Tensor:
        """What `embed` computes, in whatever mode the network is, and with gradients."""
        grey = images[:, None].float().div_(255)
        if grey.shape[-1] != self.side_px:
            grey = functional.interpolate(grey, size=self.side_px, mode="bilinear", antialias=True, align_corners=False)
        # Convolutions are faster with the channels last, for the same figures but for rounding.
        return self(grey.contiguous(memory_format=torch.channels_last)).float()  # type: ignore[no-any-return]


def standardise(images: Tensor) -> Tensor:
    """Each image minus its mean, divided by its standard deviation (at least 1/64 of the range)."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    deviation = images.std(dim=(-2, -1), keepdim=True)
    return (images - mean) / deviation.clamp_min(1 / 64)
