"""What heads that saw no image of a patient say about that patient's images, with the labels as they stand now.

Linear heads on features that are there already take seconds, so that every audit and every round of review has its own:
fitted to the labels as the verdicts left them, and calibrated for how wrong those are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.audit.inputs import AuditRows, MemberRows
from radray.ensemble.features import normalise
from radray.ensemble.pooling import pool
from radray.probe.calibration import fit_pool, fit_temperature
from radray.probe.heads import out_of_fold
from radray.probe.noise import LabelNoise, contradicted, estimate_noise

FOLDS = 5
_BLOCK = 65_536
TAUGHT = 200_000
"""Labelled images that heads are fitted to."""


def judge(rows: AuditRows, labels: npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of every image, out of fold by patient.

    Heads are fitted twice: on all labels, then without those that the first ones contradict (`contradicted`). The
    temperatures and the members' weights are those that explain the labels best, as wrong as they were found to be.

    Args:
        rows: All images; the judges among the members are asked.
        labels: Int64 [n], −1 without.
        seed: Of the folds.

    Returns:
        Float64 [n, classes], rows sum to 1; as they were for images without features, and where no label is left to
        learn from.
    """
    embedded, found = rows.embedded, rows.probabilities.copy()
    given, folds = torch.from_numpy(labels), torch.from_numpy(deal_folds(rows.patients, seed))
    labelled = torch.from_numpy(np.flatnonzero((labels >= 0) & embedded))
    if len(given[labelled].unique()) < 2:  # type: ignore[no-untyped-call]
        return found
    wrong = torch.zeros(len(labelled), dtype=torch.bool)
    noise: LabelNoise | None = None
    logits: list[Tensor] = []
    for _ in range(2):
        taught = _some(labelled[~wrong], seed)
        logits = [_ask(each, given, taught, folds, len(rows.names), rows.balance) for each in rows.judges]
        opinion = torch.stack([torch.softmax(own[labelled], dim=1) for own in logits]).mean(dim=0)
        wrong = contradicted(opinion, given[labelled])
        noise = estimate_noise(opinion, given[labelled], wrong)
    temperatures = [fit_temperature(own[labelled], given[labelled], noise) for own in logits]
    own = torch.stack([torch.softmax(each / t, dim=1) for each, t in zip(logits, temperatures, strict=True)])
    shares, temperature, _ = fit_pool(own[:, labelled], given[labelled], noise)
    found[embedded] = pool(own, shares, temperature).double().numpy()[embedded]
    return found


def _ask(member: MemberRows, labels: Tensor, taught: Tensor, folds: Tensor, classes: int, balance: float) -> Tensor:
    """Logits of all images, Float32 [n, classes]; features are standardised for one member at a time."""
    return out_of_fold(standardise_member(member), labels, taught, folds, classes, l2=member.l2, balance=balance)


def _some(rows: Tensor, seed: int) -> Tensor:
    """At most `TAUGHT` of the rows: more cost memory and time, and a linear head has long learned what it can."""
    if len(rows) <= TAUGHT:
        return rows
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:TAUGHT]
    return rows[drawn.sort().values]


def deal_folds(patients: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Int64 [n]: a fold for each patient, even in number of patients."""
    numbers = np.unique(patients, return_inverse=True)[1]
    dealt = np.random.default_rng(seed).permutation(numbers.max() + 1) % FOLDS
    return np.asarray(dealt[numbers], np.int64)


def standardise_member(member: MemberRows) -> Tensor:
    """Float32[n, d]: normalised features, standardised by those of all images that were embedded."""
    features = torch.from_numpy(member.features)
    normal = torch.empty(features.shape, dtype=torch.float32)  # the one float32 copy
    for start in range(0, len(features), _BLOCK):
        normal[start : start + _BLOCK] = normalise(features[start : start + _BLOCK])
    known = torch.from_numpy(np.flatnonzero(member.features.any(axis=1)))
    sample = normal[known[:: max(1, len(known) // TAUGHT)]]
    mean, scale = sample.mean(dim=0), sample.std(dim=0)
    normal.sub_(mean).div_(torch.where(scale > 1e-6, scale, 1.0))
    return normal
