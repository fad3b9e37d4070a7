"""How far an image lies from what its archive's trusted images show, and what kind of stranger it is.

Trusted are images whose label the others' heads confirm. Strangers are in the archive too, and among each other they
look alike: distances to all images, or to all that carry a label, call them at home (benchmarks/audit.py: AUROC .23
and .96; against the trusted ones alone 1.00).

Two witnesses, each as standard deviations above the trusted images' median, on a logarithmic scale: the Mahalanobis
distance to the nearest region (Lee et al., arXiv 1807.03888; covariance shrunk after Ledoit and Wolf), and the entropy
of the out-of-fold probabilities.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from radray.audit.batches import entropy
from radray.audit.inputs import AuditRows
from radray.ensemble.outlier import percentile

Floats = npt.NDArray[np.float64]
FEWEST = 10
"""Trusted images that two regions at least must have."""
SURE = 0.7
"""Out-of-fold probability of the given label from which on an image is trusted."""
ENTROPY_WEIGHT = 0.3
"""Of the entropy beside the distance: measured, 0 to .5 do nearly as well."""
SEVERAL_REGIONS, OUTSIDE = "several_regions", "outside"
_SECOND, _TWO = 0.15, 0.8
"""An image shows two regions where the second has this probability, and both together that one."""
_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class Outside:
    """How far out n images lie."""

    score: Floats
    """Float64 [n], 0 to 1: share of the trusted images that lie nearer; NaN without features."""
    is_outside: npt.NDArray[np.bool_]
    """Bool [n]: beyond the operating point, or found to be outside by a person."""
    witnesses: dict[str, Floats]
    """`distance` and `doubt`: float64 [n], standard deviations above the trusted images' median."""
    several: npt.NDArray[np.bool_]
    """Bool [n]: its probabilities lie on two regions."""

    def kind(self, place: int) -> str:
        """several_regions, or outside."""
        return SEVERAL_REGIONS if self.several[place] else OUTSIDE


def find_outside(
    rows: AuditRows, space: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], far_share: float
) -> Outside:
    """Score every image.

    Args:
        rows: All images, labels as they stand.
        space: Float32 [n, d], `points`.
        found: Bool [n]: a person said that it shows none of the regions.
        far_share: Images beyond all but this share of the trusted ones are outside.
    """
    known = np.isfinite(rows.probabilities[:, 0]) & space.any(axis=1)
    probabilities = np.nan_to_num(rows.probabilities)
    trusted = known & trust(rows.labels, probabilities)
    if np.count_nonzero(np.bincount(rows.labels[trusted], minlength=1) >= FEWEST) < 2:
        print(f"audit: out of domain is not told: fewer than two regions have {FEWEST} trusted images", file=sys.stderr)
        nothing = np.full(len(rows), np.nan)
        return Outside(score=nothing, is_outside=found, witnesses={}, several=np.zeros(len(rows), bool))
    distance = _spread(region_distance(space, rows.labels, trusted), trusted)
    doubt = _spread(entropy(probabilities), trusted)
    total = torch.from_numpy(distance + ENTROPY_WEIGHT * doubt)
    score = percentile(total, total[torch.from_numpy(trusted)].sort().values).double().numpy()
    best = np.sort(probabilities, axis=1)[:, ::-1]
    return Outside(
        score=np.where(known, score, np.nan),
        is_outside=(known & (score > 1 - far_share)) | found,
        witnesses={"distance": distance, "doubt": doubt},
        several=(best[:, 1] >= _SECOND) & (best[:, 0] + best[:, 1] >= _TWO),
    )


def trust(labels: npt.NDArray[np.int64], probabilities: Floats) -> npt.NDArray[np.bool_]:
    """Bool [n]: images whose label the out-of-fold probabilities confirm."""
    own = probabilities[np.arange(len(labels)), np.maximum(labels, 0)]
    return np.asarray((labels >= 0) & (probabilities.argmax(axis=1) == labels) & (own >= SURE))


def region_distance(
    space: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], trusted: npt.NDArray[np.bool_]
) -> Floats:
    """Mahalanobis distance to the nearest region's mean: float64 [n].

    Args:
        space: Float32 [n, d].
        labels: Int64 [n].
        trusted: Bool [n], the images that means and covariance are estimated on; regions with fewer than two are left
            out.
    """
    from sklearn.covariance import ledoit_wolf

    counts = np.bincount(labels[trusted], minlength=labels.max() + 1)
    regions = np.flatnonzero(counts >= min(2, counts.max()))
    means = np.stack([space[trusted & (labels == region)].mean(axis=0) for region in regions]).astype(np.float64)
    places = np.flatnonzero(trusted & np.isin(labels, regions))
    places = np.random.default_rng(0).permutation(places)[:_BLOCK]
    within = space[places] - means[np.searchsorted(regions, labels[places])]
    whitening = np.linalg.cholesky(np.linalg.inv(ledoit_wolf(within)[0] + 1e-9 * np.eye(space.shape[1])))
    centres = means @ whitening
    distance = np.empty(len(space))
    for start in range(0, len(space), _BLOCK):
        own = space[start : start + _BLOCK] @ whitening
        squared = (own**2).sum(axis=1)[:, None] - 2 * own @ centres.T + (centres**2).sum(axis=1)
        distance[start : start + _BLOCK] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return distance


def _spread(values: Floats, trusted: npt.NDArray[np.bool_]) -> Floats:
    """Logarithms in standard deviations above the trusted images' median (of their upper half)."""
    logs = np.log(np.maximum(values, 1e-6))
    middle, high = np.quantile(logs[trusted], [0.5, 0.84])
    found: Floats = (logs - middle) / max(high - middle, 1e-6)
    return found
