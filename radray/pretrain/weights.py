"""Weights to start from: a run of radray's, a file of torchvision's names, or ImageNet's, which are installed."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from radray import storage
from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.config import IMAGENET
from radray.pretrain.efficientnet_lite import IMAGENET_DIGEST, imagenet_weights
from radray.pretrain.run import is_run, read_document

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "backbone.", "network.")
_CLASSIFIERS = ("fc.", "heads.", "classifier.2.", "classifier.weight", "classifier.bias")


def digest_of(url: str) -> str:
    """BLAKE2b of the weights at a run folder or in a file; that of the installed file for `imagenet`."""
    if url == IMAGENET:
        return IMAGENET_DIGEST
    if is_run(url):
        return str(read_document(url)["digest"])
    return hashlib.blake2b(storage.read_bytes(url), digest_size=16).hexdigest()


def weights_for(url: str, budget: str, seed: int) -> str:
    """The file that a network of some labels starts from.

    Args:
        url: A run folder, or a file or `imagenet`, which serve all.
        budget: Labels that the network to come will see (`Part.budget`).
        seed: Draw of those labels.

    Raises:
        ConfigError: The run saw more labels than that, and has no network that saw the same ones.
    """
    if url == IMAGENET or not is_run(url):
        return url
    if budget not in ("none", "all"):
        same = storage.join(url, "budgets", f"{budget}-seed{seed}")
        if is_run(same):
            return storage.join(same, "backbone.safetensors")
        if read_document(url)["budget"] != "none":
            raise ConfigError(
                f"--weights {url} saw all labels, and has no network that saw {budget} of draw {seed}; "
                "train it with the same --budgets and --budget-seeds"
            )
    return storage.join(url, "backbone.safetensors")


def load_weights(backbone: Backbone, url: str) -> None:
    """Replace a fresh backbone's weights by those of a file, in place.

    Args:
        backbone: Any; its classifier is gone, so a file's classifier is left out.
        url: A `.safetensors` file (a run's backbone.safetensors, for example), or a torch file of a state dict with
            torchvision's names, or `imagenet`. Weights for colour images are summed over the channels, as for grey in
            all three.

    Raises:
        ConfigError: The file is unreadable, holds code rather than weights, or is of another network.
    """
    if url == IMAGENET:
        backbone.network.load_state_dict(imagenet_weights())
        return
    found = _read(url)
    for prefix in _PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    found = {name: value for name, value in found.items() if not name.startswith(_CLASSIFIERS)}
    wanted = backbone.network.state_dict()
    for name, value in found.items():
        have = wanted.get(name)
        if have is not None and value.ndim == 4 and value.shape[1] == 3 and have.shape[1] == 1:
            found[name] = value.sum(dim=1, keepdim=True)
    different = sorted(
        {name for name in wanted if name not in found or found[name].shape != wanted[name].shape}
        | {name for name in found if name not in wanted}
    )
    if different:
        raise ConfigError(
            f"--weights {url} is not of {backbone.name} at {backbone.side_px} px: {len(different)} of its "
            f"tensors differ, the first is {different[0]}"
        )
    backbone.network.load_state_dict(found)


def _read(url: str) -> dict[str, Tensor]:
    try:
        body = storage.read_bytes(url)
        if url.endswith(".safetensors"):
            return dict(load_safetensors(body))
        loaded: Any = torch.load(BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that holds no weights makes the readers stumble over
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--weights {url} cannot be read as weights: {reason}") from error
    for name in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    is_state = isinstance(loaded, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    )
    if not is_state:
        raise ConfigError(f"--weights {url} holds no state dict of tensors; save the network's state_dict()")
    state: dict[str, Tensor] = loaded
    return state
