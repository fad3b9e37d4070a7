"""The whole bundle as one exported program: images in, probabilities out, no radray needed.

program = torch.export.load("bundle.pt2").module()
probabilities, ood_score, turned, inverted = program(images)    # uint8 [n, side, side], cleaned as export.json says
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import torch
from torch import Tensor, nn

from radray import storage
from radray.ensemble.bundle import Bundle, Reading, weigh
from radray.ensemble.config import ExportConfig
from radray.ensemble.features import encode
from radray.ensemble.outlier import percentile
from radray.ensemble.pooling import pool
from radray.ensemble.pose import INVERTED, SURE, TURNS, posterior, turn_back
from radray.version import __version__

PROGRAM_FILE, FACTS_FILE = "bundle.pt2", "export.json"
TOLERANCE = 1e-3
"""Largest difference between the program's probabilities and the bundle's on random images."""


class Program(nn.Module):
    """What `Bundle.predict` computes, without branches on the images: every image is looked at in all turns."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self._bundle = bundle
        # A program's weights are written as they lie in memory; channels last would not be taken for a whole tensor.
        self._backbones = nn.ModuleList(
            member.backbone.eval().to(memory_format=torch.contiguous_format) for member in bundle.members
        )
        self._shares = torch.tensor([member.share for member in bundle.members])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cleaned images to answers.

        Args:
            images: UInt8[n, side, side].

        Returns:
            Float32[n, classes] probabilities, Float32[n] out-of-domain score, Int64[n] quarter turns found, Float32[n]
            probability that the grey values are inverted.
        """
        bundle = self._bundle
        own, far, poses = self._read(images)
        turned = torch.zeros(images.shape[0], dtype=torch.int64)
        inverted = torch.zeros(images.shape[0])
        if bundle.pose is not None and poses is not None:
            looks = [(own, far, poses), *(self._read(turn_back(images, turn)) for turn in range(1, TURNS))]
            mixed, mixed_far, turns = weigh(looks, bundle.pose)
            upright = posterior(poses[:, :TURNS])[:, 0] >= SURE
            own = torch.where(upright[None, :, None], own, mixed)
            far = torch.where(upright, far, mixed_far)
            turned = torch.where(upright, turned, turns)
            inverted = posterior(poses)[:, INVERTED]
        score = percentile(far.mean(dim=0), bundle.ood_reference)
        return pool(own, self._shares, bundle.temperature), score, turned, inverted

    def _read(self, images: Tensor) -> Reading:
        bundle = self._bundle
        return bundle.read([encode(member.backbone, images, bundle.views) for member in bundle.members])


def run_export(config: ExportConfig) -> dict[str, Any]:
    """Write the program and what must be known to use it; return a summary.

    Raises:
        BundleError: The bundle cannot be used.
        RuntimeError: The program does not say what the bundle says (a fault of ours).
    """
    bundle = Bundle.load(config.bundle, device="cpu")
    example = torch.randint(0, 256, (4, bundle.side_px, bundle.side_px), generator=torch.Generator().manual_seed(0))
    images = example.to(torch.uint8)
    batch = {"images": {0: torch.export.Dim("images", min=1)}}
    with torch.no_grad():
        exported = torch.export.export(Program(bundle), (images,), dynamic_shapes=batch)
    sink = io.BytesIO()
    torch.export.save(exported, sink)
    difference = compare(sink.getvalue(), bundle, images[:3])
    if difference > TOLERANCE:
        raise RuntimeError(f"the exported program differs from the bundle by {difference:.2g}; nothing was written")
    storage.write_bytes(storage.join(config.output, PROGRAM_FILE), sink.getvalue())
    facts = {
        "not_a_medical_device": True,
        "radray_version": __version__,
        "bundle": bundle.digest,
        "regions": [{"name": region.name, "code": region.snomed_code} for region in bundle.regions.regions],
        "side_px": bundle.side_px,
        "cleaning": dataclasses.asdict(bundle.cleaning),
        "confidence_thresholds": list(bundle.confidence_thresholds),
        "ood_threshold": bundle.ood_threshold,
        "inputs": "uint8 [n, side, side], cleaned, bone bright",
        "outputs": [
            "probabilities float32 [n, regions]",
            "ood_score float32 [n]",
            "turned int64 [n]",
            "inverted float32 [n]",
        ],
    }
    storage.write_json(storage.join(config.output, FACTS_FILE), facts)
    return {"bundle": bundle.digest, "bytes": len(sink.getvalue()), "largest_difference": difference}


def compare(program: bytes, bundle: Bundle, images: Tensor) -> float:
    """Largest difference in probability between a saved program and its bundle: UInt8[n, side, side] to a number."""
    loaded = torch.export.load(io.BytesIO(program)).module()
    with torch.no_grad():
        probabilities = loaded(images)[0]
    return float((probabilities - torch.from_numpy(bundle.predict(images.numpy()).probabilities)).abs().max())
