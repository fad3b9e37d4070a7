"""The bundle as a folder: JSON and safetensors only, every file named with its digest.

bundle/
  bundle.json                  format, regions, cleaning, members, thresholds, metrics, files with digests, digest
  members/<method>.safetensors backbone weights
  heads/<method>.safetensors   head, feature statistics, neighbour bank
  ensemble.safetensors         reference of the outlier score, pose head
  CARD.md                      the model card
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.ensemble.card import write_card
from radray.ensemble.pose import Pose
from radray.errors import BundleError, ConfigError
from radray.pretrain.backbone import Backbone
from radray.regions import Region, RegionSet
from radray.version import __version__

if TYPE_CHECKING:
    from radray.ensemble.bundle import Bundle, Member

FORMAT = 4
"""Version of the folder's layout."""

DOCUMENT = "bundle.json"
_EXECUTABLE = re.compile(r"\.(pkl|pickle|pt|pth|bin|ckpt|joblib|npy|npz|py|pyc|so|dll|dylib|exe|sh|h5|keras|onnx)$")
_POSE_FACTS = ("method", "temperature", "turn_temperature")
_HEAD_TENSORS = ("mean", "scale", "weight", "bias", "bank", "distances")


def write_bundle(url: str, bundle: Bundle) -> str:
    """Write `bundle` to the folder `url` in place of what is there; return its digest."""
    document = _describe(bundle)
    shared = {"ood_reference": bundle.ood_reference}
    if bundle.pose is not None:
        shared |= {"pose_weight": bundle.pose.weight, "pose_bias": bundle.pose.bias}
    bodies: dict[str, bytes] = {"ensemble.safetensors": _pack(shared)}
    for member in bundle.members:
        bodies[f"members/{member.method}.safetensors"] = _pack(member.backbone.state_dict())
        tensors = {name: getattr(member, name) for name in _HEAD_TENSORS}
        bodies[f"heads/{member.method}.safetensors"] = _pack({**tensors, "bank": member.bank.half()})
    bodies["CARD.md"] = write_card(document).encode()
    document["files"] = {name: _digest(body) for name, body in sorted(bodies.items())}
    document["digest"] = _document_digest(document)
    storage.remove(url)
    for name, body in bodies.items():
        storage.write_bytes(storage.join(url, name), body)
    storage.write_json(storage.join(url, DOCUMENT), document)
    return str(document["digest"])


def read_bundle(url: str) -> Bundle:
    """Read the folder `url`, verifying every file.

    Raises:
        BundleError: Nothing there, damaged, of another format, or with files that do not belong.
    """
    from radray.ensemble.bundle import Bundle

    document = read_document(url)
    _refuse_strangers(url)
    bodies = {name: _verified(url, name, digest) for name, digest in document["files"].items()}
    try:
        shared = _unpack(bodies["ensemble.safetensors"])
        return Bundle(
            regions=_regions(document["regions"]),
            cleaning=CleaningConfig(**document["cleaning"]),
            members=[_member(described, bodies) for described in document["members"]],
            temperature=document["temperature"],
            ood_reference=shared["ood_reference"],
            pose=None if document["pose"] is None else _pose(document["pose"], shared),
            confidence_thresholds=tuple(document["confidence_thresholds"]),
            ood_threshold=document["ood_threshold"],
            views=tuple(document["views"]),
            facts=document["facts"],
            digest=document["digest"],
        )
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        raise BundleError(f"{url}: the bundle does not fit radray {__version__} ({error}); build it again") from error


def read_document(url: str) -> dict[str, Any]:
    """bundle.json alone, verified: cheap, needs no weights.

    Raises:
        BundleError: Nothing there, damaged, or of another format.
    """
    place = storage.join(url, DOCUMENT)
    if not storage.exists(place):
        raise BundleError(
            f"{url}: no bundle is there ({DOCUMENT} is missing); give the folder that jobs/probe.py wrote"
        )
    try:
        document: dict[str, Any] = storage.read_json(place)
        given = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{url}: {DOCUMENT} is damaged; copy the bundle again from where it was made") from error
    if given != FORMAT:
        made = document.get("radray_version", "unknown")
        raise BundleError(
            f"{url}: bundle format {given} (made by radray {made}); this radray {__version__} reads format {FORMAT}: "
            "install the radray that made it, or build the bundle again with jobs/probe.py"
        )
    if _document_digest(document) != document.get("digest"):
        raise BundleError(f"{url}: {DOCUMENT} does not match its digest; copy the bundle again from where it was made")
    return document


def _describe(bundle: Bundle) -> dict[str, Any]:
    regions = bundle.regions
    return {
        "format": FORMAT,
        "radray_version": __version__,
        "not_a_medical_device": True,
        "regions": {
            "name": regions.name,
            "regions": [dataclasses.asdict(region) for region in regions.regions],
            "other_parts": {part: list(words) for part, words in regions.other_parts.items()},
        },
        "cleaning": dataclasses.asdict(bundle.cleaning),
        "side_px": bundle.side_px,
        "views": list(bundle.views),
        "pose": None if bundle.pose is None else {name: getattr(bundle.pose, name) for name in _POSE_FACTS},
        "members": [
            {
                "method": member.method,
                "backbone": member.backbone.name,
                "input_px": member.backbone.side_px,
                "run_digest": member.run_digest,
                "temperature": member.temperature,
                "share": member.share,
                "own_head": member.own_head,
            }
            for member in bundle.members
        ],
        "temperature": bundle.temperature,
        "confidence_thresholds": list(bundle.confidence_thresholds),
        "ood_threshold": bundle.ood_threshold,
        "facts": bundle.facts,
    }


def _regions(described: dict[str, Any]) -> RegionSet:
    regions = tuple(
        Region(**{**each, "synonyms": tuple(each["synonyms"]), "part_of": tuple(each["part_of"])})
        for each in described["regions"]
    )
    return RegionSet(described["name"], regions, described["other_parts"])


def _pose(described: dict[str, Any], tensors: dict[str, Tensor]) -> Pose:
    return Pose(
        **{name: described[name] for name in _POSE_FACTS},
        weight=tensors["pose_weight"],
        bias=tensors["pose_bias"],
    )


def _member(described: dict[str, Any], bodies: dict[str, bytes]) -> Member:
    from radray.ensemble.bundle import Member

    method = described["method"]
    backbone = Backbone(described["backbone"], described["input_px"])
    backbone.load_state_dict(load(bodies[f"members/{method}.safetensors"]))
    backbone.eval().to(memory_format=torch.channels_last)
    tensors = {name: value.float() for name, value in _unpack(bodies[f"heads/{method}.safetensors"]).items()}
    return Member(
        method=method,
        backbone=backbone,
        temperature=described["temperature"],
        share=described["share"],
        own_head=described["own_head"],
        run_digest=described["run_digest"],
        **{name: tensors[name] for name in _HEAD_TENSORS},
    )


def _verified(url: str, name: str, digest: str) -> bytes:
    place = storage.join(url, name)
    try:
        body = storage.read_bytes(place)
    except FileNotFoundError as error:
        raise BundleError(f"{url}: {name} is missing; copy the bundle again from where it was made") from error
    if _digest(body) != digest:
        raise BundleError(f"{url}: {name} does not match its digest; copy the bundle again from where it was made")
    return body


def _refuse_strangers(url: str) -> None:
    """Nothing that could be run on loading may lie in the folder."""
    place = storage.locate(url)
    for path in place.fs.find(place.path):
        if _EXECUTABLE.search(path.lower()):
            name = path.rsplit("/", 1)[-1]
            raise BundleError(
                f"{url}: {name} does not belong in a bundle (JSON, Markdown and safetensors only); remove it"
            )


def _pack(tensors: dict[str, Tensor]) -> bytes:
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def _unpack(body: bytes) -> dict[str, Tensor]:
    """Tensors of their own, not views of one buffer."""
    return {name: value.clone() for name, value in load(body).items()}


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _document_digest(document: dict[str, Any]) -> str:
    content = {name: value for name, value in document.items() if name != "digest"}
    return _digest(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
