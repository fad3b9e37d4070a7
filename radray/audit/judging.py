"""What heads that saw no image of a patient say about that patient's images, with the labels as they stand now.

The probe did the same with the labels it had. After a review some labels are put right: the heads are fitted again on
the features that are there already, which takes seconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.audit.inputs import MemberRows
from radray.ensemble.features import normalise
from radray.ensemble.pooling import pool
from radray.probe.calibration import fit_pool, fit_temperature
from radray.probe.heads import out_of_fold
from radray.probe.noise import LabelNoise, contradicted, estimate_noise

FOLDS = 5


def judge(
    members: tuple[MemberRows, ...],
    labels: npt.NDArray[np.int64],
    patients: npt.NDArray[np.int64],
    classes: int,
    balance: float,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of every image, out of fold by patient.

    Heads are fitted twice: on all labels, then without those that the first ones contradict (`contradicted`). The
    temperatures and the members' weights are those that explain the labels best, as wrong as they were found to be.

    Args:
        members: Judges.
        labels: Int64 [n], −1 without.
        patients: Int64 [n].
        classes: Number of classes.
        balance: Class weighting.
        seed: Of the folds.

    Returns:
        Float64 [n, classes], rows sum to 1.
    """
    given, folds = torch.from_numpy(labels), torch.from_numpy(deal_folds(patients, seed))
    rows = (given >= 0).nonzero()[:, 0]
    wrong = torch.zeros(len(rows), dtype=torch.bool)
    noise: LabelNoise | None = None
    logits: list[Tensor] = []
    for _ in range(2):
        trusted = rows[~wrong]
        logits = [
            out_of_fold(standardise_member(each), given, trusted, folds, classes, l2=each.l2, balance=balance)
            for each in members
        ]
        opinion = torch.stack([torch.softmax(own[rows], dim=1) for own in logits]).mean(dim=0)
        wrong = contradicted(opinion, given[rows])
        noise = estimate_noise(opinion, given[rows], wrong)
    temperatures = [fit_temperature(own[rows], given[rows], noise) for own in logits]
    own = torch.stack([torch.softmax(each / t, dim=1) for each, t in zip(logits, temperatures, strict=True)])
    shares, temperature, _ = fit_pool(own[:, rows], given[rows], noise)
    return pool(own, shares, temperature).double().numpy()


def deal_folds(patients: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Int64 [n]: a fold for each patient, even in number of patients."""
    numbers = np.unique(patients, return_inverse=True)[1]
    dealt = np.random.default_rng(seed).permutation(numbers.max() + 1) % FOLDS
    return np.asarray(dealt[numbers], np.int64)


def standardise_member(member: MemberRows) -> Tensor:
    """Float32[n, d]: normalised features, standardised by those of all images that were embedded."""
    normal = normalise(torch.from_numpy(member.features))
    known = torch.from_numpy(member.features.any(axis=1))
    mean, scale = normal[known].mean(dim=0), normal[known].std(dim=0)
    normal.sub_(mean).div_(torch.where(scale > 1e-6, scale, 1.0))
    return normal
