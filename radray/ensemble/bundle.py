"""The bundle in memory: members, how they are put together, and `predict`.

bundle = Bundle.load("out/probe/bundle")
predictions = bundle.predict(images)        # uint8 [n, side, side], cleaned with bundle.cleaning
predictions.names, predictions.confidence, predictions.abstained
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.cleaning.config import CleaningConfig
from radray.ensemble.features import embed, fold_batch_norm, normalise
from radray.ensemble.outlier import neighbour_distance, percentile
from radray.ensemble.pooling import pool
from radray.ensemble.pose import INVERTED, SURE, TURNS, Pose, posterior, turn_back, turn_evidence
from radray.errors import BundleError
from radray.memory import keep_freed_memory
from radray.pretrain.backbone import Backbone
from radray.regions import RegionSet

Precision = Literal["float32", "bfloat16"]
FloatArray = npt.NDArray[np.float32]
Reading = tuple[Tensor, Tensor, Tensor | None]
"""What `Bundle.read` gives: probabilities, outlier percentiles, log-likelihoods of the poses where there is a head."""


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

    @cached_property
    def network(self) -> Backbone:
        """The backbone as predictions are computed with it."""
        return fold_batch_norm(self.backbone)

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
        self.__dict__.pop("network", None)
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
    turned: npt.NDArray[np.int64]
    """Int64[n]: quarter turns counter-clockwise by which the image was found to be turned, 0 to 3."""
    inverted: FloatArray
    """Float32[n]: probability that its grey values are inverted; such an image has to be cleaned again."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.region)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What the members say about n images, before it is put together."""

    probabilities: Tensor
    """Float32[members, n, classes], calibrated."""
    percentiles: Tensor
    """Float32[members, n], outlier percentiles."""
    turned: Tensor
    """Int64[n], quarter turns."""
    inverted: Tensor
    """Float32[n], probability."""


def weigh(looks: Sequence[Reading], pose: Pose) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of four looks at n images, weighted by how probable each turn is.

    Args:
        looks: What `Bundle.read` says after `turn_back(…, 0)` to `turn_back(…, 3)`.
        pose: The head that read the poses.

    Returns:
        Float32[members, n, classes] probabilities, Float32[members, n] percentiles, Int64[n] most probable turns.
    """
    evidence = turn_evidence(torch.stack([each[2] for each in looks if each[2] is not None]))
    weights = posterior(evidence / pose.turn_temperature)
    own = torch.einsum("nt,tmnc->mnc", weights, torch.stack([each[0] for each in looks]))
    far = torch.einsum("nt,tmn->mn", weights, torch.stack([each[1] for each in looks]))
    return own, far, weights.argmax(dim=1)


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
    confidence_thresholds: tuple[float, ...]
    """Of each region: the bundle abstains where the region is the likeliest one with less confidence than this."""
    ood_threshold: float
    """Above it the bundle abstains."""
    pose: Pose | None = None
    """Tells turned and inverted images; None takes every image as it is."""
    views: tuple[str, ...] = ("identity",)
    """Views of each image whose features are averaged."""
    facts: dict[str, Any] = field(default_factory=dict)
    """coverage, metrics, data digest, seeds: what the card tells; JSON-able."""
    precision: Precision = "float32"
    """Of the networks. bfloat16 is twice as fast on processors and GPUs that have it; probabilities are then some
    hundredths off, and depend on the images that are computed together. Not saved: who predicts chooses."""
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
        if self.pose is not None:
            self.pose.to(torch.device(device))
        return self

    def save(self, url: str) -> str:
        """Write the folder; return its digest."""
        from radray.ensemble.folder import write_bundle

        self.digest = write_bundle(url, self)
        return self.digest

    @classmethod
    def load(cls, url: str, *, device: str = "auto", precision: Precision = "float32") -> Bundle:
        """Read and verify a bundle folder.

        Args:
            url: The folder.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            precision: Of the networks.

        Raises:
            BundleError: Nothing there, damaged, of another format, or with files that do not belong.
        """
        from radray.ensemble.folder import read_bundle

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if chosen == "cuda" and precision == "float32":
            torch.backends.cudnn.allow_tf32 = False  # its ten bits would differ from what a CPU says
        if chosen == "cpu":
            keep_freed_memory()
        found = read_bundle(url).to(chosen)
        found.precision = precision
        return found

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
        parts = [self.look((), lambda rows, turn: ())]
        parts += list(self._batches(images, batch))
        return self.combine(
            Looks(
                probabilities=torch.cat([part.probabilities for part in parts], dim=1),
                percentiles=torch.cat([part.percentiles for part in parts], dim=1),
                turned=torch.cat([part.turned for part in parts]),
                inverted=torch.cat([part.inverted for part in parts]),
            )
        )

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Each member's features of cleaned images: UInt8[n, side, side] to Float32[n, d] each."""
        # Heads and distances stay at float32: they are cheap, and decide.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            found = [embed(member.network, pixels, self.views) for member in self.members]
        return [features.float() for features in found]

    @torch.inference_mode()
    def _batches(self, images: npt.NDArray[np.uint8], batch: int) -> Iterator[Looks]:
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(images[start : start + batch].copy()).to(self.device)

            def turned(rows: Tensor, turn: int, pixels: Tensor = pixels) -> list[Tensor]:
                return self.features(turn_back(pixels[rows], turn))

            yield self.look(self.features(pixels), turned)

    def look(self, features: Sequence[Tensor], turned: Callable[[Tensor, int], Sequence[Tensor]]) -> Looks:
        """What the members say about n images, turned back where they lie askew.

        Args:
            features: Float32[n, d] of each member; none for no image.
            turned: Gives each member's features of some images (indices) turned back by so many quarter turns.
        """
        if not len(features):
            none = torch.empty(len(self.members), 0)
            return Looks(
                probabilities=none[:, :, None].expand(-1, -1, len(self.regions)),
                percentiles=none,
                turned=torch.empty(0, dtype=torch.int64),
                inverted=none[0],
            )
        own, far, poses = self.read(features)
        turns = torch.zeros(len(own[0]), dtype=torch.int64, device=own.device)
        inverted = torch.zeros(len(turns), device=own.device)
        if self.pose is not None and poses is not None:
            inverted = posterior(poses)[:, INVERTED]
            doubtful = (posterior(poses[:, :TURNS])[:, 0] < SURE).nonzero()[:, 0]
            if len(doubtful):
                looks: list[Reading] = [(own[:, doubtful], far[:, doubtful], poses[doubtful])]
                looks += [self.read(turned(doubtful, turn)) for turn in range(1, TURNS)]
                own[:, doubtful], far[:, doubtful], turns[doubtful] = weigh(looks, self.pose)
        return Looks(probabilities=own.cpu(), percentiles=far.cpu(), turned=turns.cpu(), inverted=inverted.cpu())

    def read(self, features: Sequence[Tensor]) -> Reading:
        """Probabilities [members, n, classes], outlier percentiles [members, n], log-likelihoods of poses [n, 5]."""
        probabilities, percentiles, poses = [], [], None
        for member, own in zip(self.members, features, strict=True):
            standardised = member.standardise(own)
            probabilities.append(torch.softmax(member.logits(own), dim=1))
            percentiles.append(member.outlier_percentile(standardised))
            if self.pose is not None and self.pose.method == member.method:
                poses = self.pose.log_likelihood(standardised)
        return torch.stack(probabilities), torch.stack(percentiles), poses

    def combine(self, looks: Looks) -> Predictions:
        """The ensemble's word from its members' words."""
        shares = torch.tensor([member.share for member in self.members])
        pooled = pool(looks.probabilities, shares, self.temperature)
        ood = percentile(looks.percentiles.mean(dim=0), self.ood_reference.cpu())
        confidence, region = pooled.max(dim=1)
        abstained = (confidence < torch.tensor(self.confidence_thresholds)[region]) | (ood > self.ood_threshold)
        return Predictions(
            probabilities=pooled.numpy(),
            member_probabilities={
                method: own.float().numpy() for method, own in zip(self.methods, looks.probabilities, strict=True)
            },
            ood_score=ood.numpy(),
            confidence=confidence.numpy(),
            region=region.numpy(),
            abstained=abstained.numpy(),
            turned=looks.turned.numpy(),
            inverted=looks.inverted.numpy(),
        )
