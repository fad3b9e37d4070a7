"""A run folder: what pre-training leaves for the stages after it.

runs/<method>/
run.json               method, backbone, side_px, seed, regions, label budget, configuration, digest
backbone.safetensors   weights of `Backbone`
head.safetensors       linear head of the supervised method (weight [regions, dimension], bias [regions])
metrics.jsonl          one line a logged step
checkpoints/           to go on from; not needed afterwards
budgets/<budget>-seed<k>/   the same layout, trained with fewer labels (supervised and SupCon only)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from radray import storage
from radray.errors import ConfigError
from radray.pretrain.backbone import Backbone
from radray.pretrain.config import IMAGENET
from radray.pretrain.efficientnet_lite import IMAGENET_DIGEST, imagenet_weights
from radray.version import __version__

DOCUMENT_FILE = "run.json"
FORMAT = 1
"""Version of the run folder's layout."""
_IMAGENET_SIDE_PX = 128
"""Side at which ImageNet's network looks at radiographs."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run, loaded."""

    url: str
    """Absolute; `imagenet` for that network."""
    method: str
    """simclr, byol, supcon, supervised, or imagenet, which was not trained on radiographs."""
    side_px: int
    """Side of the images it was trained on."""
    backbone: Backbone
    head: dict[str, Tensor] | None
    """`weight` and `bias` of the supervised method's own linear head, rows in the order of `regions`."""
    regions: tuple[str, ...]
    """Class order at training time."""
    budget: str
    """Labels it saw: `none`, `all`, `5` (a region) or `1%`."""
    seed: int
    digest: str
    """BLAKE2b of the weights; the key of everything computed from them."""
    document: dict[str, Any]
    """The whole run.json."""


def save_run(url: str, backbone: Backbone, head: dict[str, Tensor] | None, document: dict[str, Any]) -> str:
    """Write a run folder; return the digest of its weights.

    Args:
        url: The folder.
        backbone: Trained network, on any device.
        head: Supervised head, or None.
        document: method, seed, regions, budget and whatever else explains the run.
    """
    weights = save({name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()})
    digest = hashlib.blake2b(weights, digest_size=16)
    storage.write_bytes(storage.join(url, "backbone.safetensors"), weights)
    if head is not None:
        head_bytes = save({name: value.detach().cpu().contiguous() for name, value in head.items()})
        digest.update(head_bytes)
        storage.write_bytes(storage.join(url, "head.safetensors"), head_bytes)
    record = {
        "format": FORMAT,
        "radray_version": __version__,
        "backbone": backbone.name,
        "side_px": backbone.side_px,
        "digest": digest.hexdigest(),
        "has_head": head is not None,
        **document,
    }
    storage.write_json(storage.join(url, DOCUMENT_FILE), record)
    return digest.hexdigest()


def is_run(url: str) -> bool:
    """Whether a finished run is there."""
    return storage.exists(storage.join(url, DOCUMENT_FILE))


def read_document(url: str) -> dict[str, Any]:
    """run.json of a finished run: what it is, without its weights."""
    document: dict[str, Any] = storage.read_json(storage.join(url, DOCUMENT_FILE))
    return document


def load_run(url: str) -> Run:
    """Read a run folder.

    Raises:
        ConfigError: No finished run is there, its format is another, or its weights are damaged.
    """
    if not is_run(url):
        raise ConfigError(f"{url}: no finished run is there (run.json is missing); run jobs/pretrain.py to its end")
    document = read_document(url)
    if document.get("format") != FORMAT:
        raise ConfigError(f"{url}: run format {document.get('format')} is not {FORMAT}; train again with this version")
    weights = storage.read_bytes(storage.join(url, "backbone.safetensors"))
    digest = hashlib.blake2b(weights, digest_size=16)
    head: dict[str, Tensor] | None = None
    if document["has_head"]:
        head_bytes = storage.read_bytes(storage.join(url, "head.safetensors"))
        digest.update(head_bytes)
        head = load(head_bytes)
    if digest.hexdigest() != document["digest"]:
        raise ConfigError(f"{url}: the weights do not match run.json's digest; the run is damaged, train it again")
    backbone = Backbone(document["backbone"], document["side_px"])
    try:
        backbone.load_state_dict(load(weights))
    except RuntimeError as error:
        raise ConfigError(f"{url}: its {backbone.name} is not this version's; train again with this version") from error
    backbone.eval().to(memory_format=torch.channels_last)
    return Run(
        url=storage.normalise_url(url),
        method=document["method"],
        side_px=document["side_px"],
        backbone=backbone,
        head=head,
        regions=tuple(document["regions"]),
        budget=document["budget"],
        seed=document["seed"],
        digest=document["digest"],
        document=document,
    )


def load_network(url: str) -> Run:
    """Read a run folder; or take `imagenet`, the network that those of `--weights imagenet` start from, as one.

    Raises:
        ConfigError: As `load_run`, or the weights are not installed.
    """
    if url != IMAGENET:
        return load_run(url)
    backbone = Backbone("efficientnet_lite0", _IMAGENET_SIDE_PX)
    backbone.network.load_state_dict(imagenet_weights())
    backbone.eval().to(memory_format=torch.channels_last)
    return Run(
        url=IMAGENET,
        method=IMAGENET,
        side_px=backbone.side_px,
        backbone=backbone,
        head=None,
        regions=(),
        budget="none",
        seed=0,
        digest=hashlib.blake2b(f"{IMAGENET_DIGEST} at {_IMAGENET_SIDE_PX}".encode(), digest_size=16).hexdigest(),
        document={"weights_digest": IMAGENET_DIGEST},
    )


def find_run_folders(urls: Iterable[str]) -> list[str]:
    """URLs of run folders among `urls` and directly below them, in order; an URL that holds none comes as it is."""
    places: list[str] = []
    for url in urls:
        inside = [] if url == IMAGENET else [place for place in storage.list_files(url) if is_run(place)]
        places += [url] if is_run(url) or not inside else inside
    return places


def budget_runs(url: str) -> list[str]:
    """URLs of the few-label runs below a run folder, sorted."""
    folder = storage.join(url, "budgets")
    return [place for place in storage.list_files(folder) if is_run(place)]
