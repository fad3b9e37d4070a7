"""The members' heads on all labels: wrong training labels left out, temperatures and weights fitted on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radray.ensemble.pooling import pool
from radray.images.split import TRAIN, VALIDATION
from radray.probe.calibration import fit_pool
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded, FittedHead, Lesson, better, fit_best, out_of_fold, own_head
from radray.probe.noise import LabelNoise, contradicted, estimate_noise


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How members are put together."""

    shares: Tensor
    """Float32[members], sum 1."""
    temperature: float
    """Of the pooled probabilities."""
    wrong_labels: float
    """Share of the validation labels that the two were fitted to believe wrong."""

    def pool(self, probabilities: Tensor) -> Tensor:
        """Float32[members, n, classes] to Float32[n, classes]."""
        return pool(probabilities, self.shares, self.temperature)


@dataclass(frozen=True, kw_only=True)
class FullFit:
    """Every method's head on all labels of the training split."""

    probes: dict[str, FittedHead]
    """Linear probes."""
    heads: dict[str, FittedHead]
    """What goes into the bundle: the probes, or a network's own head where that explains validation better."""
    mixture: Mixture
    training: Tensor
    """Indices of the training images whose label was used."""
    left_out: Tensor
    """Indices of the training images whose label other patients' images contradict."""


def fit_full(cohort: Cohort, embedded: Sequence[Embedded], config: ProbeConfig) -> FullFit:
    """Fit heads, temperatures and weights with all labels of training and validation."""
    classes = len(cohort.names)
    rows, validation = cohort.rows(TRAIN), cohort.rows(VALIDATION)

    def fit(each: Embedded, training: Tensor, noise: LabelNoise | None) -> FittedHead:
        lesson = Lesson(labels=cohort.labels, training=training, validation=validation)
        return fit_best(each.features, [lesson], classes, l2=config.l2, balance=config.balance, noise=noise)[0]

    wrong, noise = torch.zeros(len(rows), dtype=torch.bool), None
    if config.prune:
        # Backbones trained on the labels have learned the wrong ones too; the others judge, where there are any.
        judges = label_free(embedded)
        strengths = [fit(each, rows, None).l2 for each in judges]
        votes = [
            _out_of_fold_probabilities(each, cohort, rows, strength, config)[rows]
            for each, strength in zip(judges, strengths, strict=True)
        ]
        opinion = torch.stack(votes).mean(dim=0)
        wrong = contradicted(opinion, cohort.labels[rows])
        wrong &= ~_last_of_region(cohort.labels[rows], wrong, classes)
        noise = estimate_noise(opinion, cohort.labels[rows], wrong)
    training, left_out = rows[~wrong], rows[wrong]
    probes = {each.method: fit(each, training, noise) for each in embedded}
    heads = {
        each.method: better(probes[each.method], own_head(each, cohort.names, cohort.labels, validation, noise))
        for each in embedded
    }
    return FullFit(
        probes=probes,
        heads=heads,
        mixture=fit_mixture(list(heads.values()), cohort.labels, validation, noise),
        training=training,
        left_out=left_out,
    )


def label_free(embedded: Sequence[Embedded]) -> list[Embedded]:
    """Those whose backbone never saw a label; all of them where none is."""
    return [each for each in embedded if not each.saw_labels] or list(embedded)


def _last_of_region(labels: Tensor, wrong: Tensor, classes: int) -> Tensor:
    """Images of regions that would keep no image at all: they stay."""
    kept = torch.bincount(labels[~wrong], minlength=classes)
    return kept[labels] == 0


def fit_mixture(
    heads: Sequence[FittedHead], labels: Tensor, validation: Tensor, noise: LabelNoise | None = None
) -> Mixture:
    """Weights and temperature of the ensemble on the validation images given."""
    probabilities = torch.stack([head.probabilities[validation] for head in heads])
    shares, temperature, wrong = fit_pool(probabilities, labels[validation], noise)
    return Mixture(shares=shares, temperature=temperature, wrong_labels=wrong)


def _out_of_fold_probabilities(
    each: Embedded, cohort: Cohort, rows: Tensor, l2: float, config: ProbeConfig, temperature: float = 1.0
) -> Tensor:
    logits = out_of_fold(
        each.features, cohort.labels, rows, cohort.folds, len(cohort.names), l2=l2, balance=config.balance
    )
    return torch.softmax(logits / temperature, dim=1)


def out_of_fold_all(
    cohort: Cohort, embedded: Sequence[Embedded], fit: FullFit, config: ProbeConfig
) -> dict[str, Tensor]:
    """Probabilities of every image from heads that saw no image of its patient: each method's, and `ensemble`.

    The heads learn from the labels of all splits (none of them goes into the bundle). The ensemble takes the methods
    whose backbone never saw a label, where there are any: the others may have learned an image's wrong label.

    Returns:
        Method → Float32[n, classes].
    """
    rows = (cohort.labels >= 0).nonzero()[:, 0]
    found = {
        each.method: _out_of_fold_probabilities(
            each, cohort, rows, fit.probes[each.method].l2, config, fit.probes[each.method].temperature
        )
        for each in embedded
    }
    judges = [each.method for each in label_free(embedded)]
    shares = torch.tensor(
        [float(share) for share, method in zip(fit.mixture.shares, fit.heads, strict=True) if method in judges]
    )
    return {**found, "ensemble": pool(torch.stack([found[method] for method in judges]), shares / shares.sum())}
