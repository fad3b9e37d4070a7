"""The bundle in memory: members, how they are put together, and `predict`.

bundle = Bundle.load("out/probe/bundle")
predictions = bundle.predict(images)        # uint8 [n, side, side], cleaned with bundle.cleaning
predictions.names, predictions.confidence, predictions.abstained
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.cleaning.config import CleaningConfig
from radray.ensemble.features import embed, normalise
from radray.ensemble.outlier import neighbour_distance, percentile
from radray.ensemble.pooling import pool
from radray.errors import BundleError
from radray.pretrain.backbone import Backbone
from radray.regions import RegionSet

FloatArray = npt.NDArray[np.float32]


@dataclass(kw_only=True)
class Member:
    """One method's backbone with its linear head."""

    method: str
    """simclr, byol, supcon, supervised or any other name; unique in the bundle."""
    backbone: Backbone
    mean: Tensor
    """Float32[d], of the normalised training features."""
    scale: Tensor
    """Float32[d], their standard deviation."""
    weight: Tensor
    """Float32[classes, d], of the linear head."""
    bias: Tensor
    """Float32[classes]; very low for regions without training images."""
    own_head: bool
    """Whether the head is the network's own, on features as they are, and not a probe on standardised ones."""
    bank: Tensor
    """Float32[m, d], standardised training features of length 1."""
    distances: Tensor
    """Float32[r], sorted: neighbour distances of validation images, the scale of the outlier score."""
    temperature: float
    """Divides the logits."""
    share: float
    """Weight in the ensemble, 0 to 1."""
    run_digest: str
    """Digest of the run that the backbone came from."""

    def standardise(self, features: Tensor) -> Tensor:
        """Backbone features to what probe and outlier score take: Float32[n, d] to Float32[n, d]."""
        return (normalise(features) - self.mean) / self.scale

    def logits(self, features: Tensor) -> Tensor:
        """Backbone features Float32[n, d] to Float32[n, classes], after temperature."""
        taken = features if self.own_head else self.standardise(features)
        return (taken @ self.weight.T + self.bias) / self.temperature

    def outlier_percentile(self, standardised: Tensor) -> Tensor:
        """How far from the training images, in [0, 1]: Float32[n, d] to Float32[n]."""
        points = torch.nn.functional.normalize(standardised, dim=1)
        return percentile(neighbour_distance(points, self.bank), self.distances)

    def to(self, device: torch.device) -> None:
        """Move network and tensors."""
        self.backbone.to(device)
        for name in ("mean", "scale", "weight", "bias", "bank", "distances"):
            setattr(self, name, getattr(self, name).to(device))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a bundle says about n images."""

    probabilities: FloatArray
    """Float32[n, classes], in the order of the bundle's regions."""
    member_probabilities: dict[str, FloatArray]
    """Method → Float32[n, classes], calibrated."""
    ood_score: FloatArray
    """Float32[n], 0 to 1: share of validation images that lie nearer to the training images."""
    confidence: FloatArray
    """Float32[n]: the largest probability."""
    region: npt.NDArray[np.int64]
    """Int64[n]: its region's index."""
    abstained: npt.NDArray[np.bool_]
    """Bool[n]: too unsure or too far out to be used without a person."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.region)


@dataclass(kw_only=True)
class Bundle:
    """All that turns a cleaned radiograph into a region.

    Not a medical device.
    """

    regions: RegionSet
    cleaning: CleaningConfig
    members: list[Member]
    temperature: float
    """Of the pooled probabilities."""
    ood_reference: Tensor
    """Float32[r], sorted: validation images' mean percentile over the members."""
    confidence_threshold: float
    """Below it the bundle abstains."""
    ood_threshold: float
    """Above it the bundle abstains."""
    views: tuple[str, ...] = ("identity",)
    """Views of each image whose features are averaged."""
    facts: dict[str, Any] = field(default_factory=dict)
    """coverage, metrics, data digest, seeds: what the card tells; JSON-able."""
    digest: str = ""
    """BLAKE2b of everything in the folder; empty until saved."""

    def __post_init__(self) -> None:
        if not self.members:
            raise BundleError("a bundle needs a member; give the probe stage at least one run")

    @property
    def side_px(self) -> int:
        """Side of the images that `predict` takes."""
        return self.cleaning.side_px

    @property
    def methods(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(member.method for member in self.members)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.members[0].weight.device

    def to(self, device: str | torch.device) -> Bundle:
        """Move everything to a device; returns the bundle."""
        for member in self.members:
            member.to(torch.device(device))
        self.ood_reference = self.ood_reference.to(device)
        return self

    def save(self, url: str) -> str:
        """Write the folder; return its digest."""
        from radray.ensemble.folder import write_bundle

        self.digest = write_bundle(url, self)
        return self.digest

    @classmethod
    def load(cls, url: str, *, device: str = "auto") -> Bundle:
        """Read and verify a bundle folder.

        Args:
            url: The folder.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

        Raises:
            BundleError: Nothing there, damaged, of another format, or with files that do not belong.
        """
        from radray.ensemble.folder import read_bundle

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        return read_bundle(url).to(chosen)

    def predict(self, images: npt.NDArray[np.uint8], *, batch: int = 64) -> Predictions:
        """Regions of cleaned images; the batch size changes nothing beyond the fifth decimal.

        Args:
            images: UInt8[n, side, side], cleaned with `cleaning`, bone bright; n may be 0.
            batch: Images computed together.

        Raises:
            BundleError: Images of another size or type.
        """
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (self.side_px, self.side_px):
            raise BundleError(
                f"images are {images.dtype} {list(images.shape)}; this bundle takes uint8 "
                f"[n, {self.side_px}, {self.side_px}], cleaned with its own cleaning configuration"
            )
        probabilities = [torch.empty(len(self.members), 0, len(self.regions))]
        percentiles = [torch.empty(len(self.members), 0)]
        for own, far in self._batches(images, batch):
            probabilities.append(own)
            percentiles.append(far)
        return self.combine(torch.cat(probabilities, dim=1), torch.cat(percentiles, dim=1))

    @torch.inference_mode()
    def _batches(self, images: npt.NDArray[np.uint8], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Probabilities [members, b, classes] and outlier percentiles [members, b] of one batch after the other."""
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(images[start : start + batch].copy()).to(self.device)
            probabilities, percentiles = [], []
            for member in self.members:
                features = embed(member.backbone, pixels, self.views)
                probabilities.append(torch.softmax(member.logits(features), dim=1))
                percentiles.append(member.outlier_percentile(member.standardise(features)))
            yield torch.stack(probabilities).cpu(), torch.stack(percentiles).cpu()

    def combine(self, probabilities: Tensor, percentiles: Tensor) -> Predictions:
        """The ensemble's word from its members' words.

        Args:
            probabilities: Float32[members, n, classes], calibrated.
            percentiles: Float32[members, n], outlier percentiles.
        """
        shares = torch.tensor([member.share for member in self.members])
        pooled = pool(probabilities, shares, self.temperature)
        ood = percentile(percentiles.mean(dim=0), self.ood_reference.cpu())
        confidence, region = pooled.max(dim=1)
        abstained = (confidence < self.confidence_threshold) | (ood > self.ood_threshold)
        return Predictions(
            probabilities=pooled.numpy(),
            member_probabilities={
                method: own.float().numpy() for method, own in zip(self.methods, probabilities, strict=True)
            },
            ood_score=ood.numpy(),
            confidence=confidence.numpy(),
            region=region.numpy(),
            abstained=abstained.numpy(),
        )
