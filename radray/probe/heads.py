"""Linear heads on one method's frozen features: the best L2 strength, out-of-fold heads, and a network's own head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from radray.ensemble.features import normalise
from radray.pretrain.run import Run
from radray.probe.calibration import fit_temperature, negative_log_likelihood
from radray.probe.logistic import ABSENT_BIAS, Curvature, Heads, balanced_weights, fit_heads
from radray.probe.noise import LabelNoise


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One run's features of all n images of the cohort."""

    method: str
    run: Run
    raw: Tensor
    """Float32[n, d], as the backbone gives them."""
    mean: Tensor
    """Float32[d], of the normalised features outside the test split."""
    scale: Tensor
    """Float32[d], their standard deviation, 1 where a feature never varies."""
    features: Tensor = field(repr=False)
    """Float32[n, d], normalised and standardised."""

    @property
    def saw_labels(self) -> bool:
        """Whether training the backbone used labels."""
        return self.run.budget != "none"

    def standardise(self, raw: Tensor) -> Tensor:
        """Float32[m, d] of other images, as `features` are."""
        return (normalise(raw) - self.mean) / self.scale


def standardise(method: str, run: Run, raw: Tensor, reference: Tensor) -> Embedded:
    """Normalise features and standardise them by the rows `reference` (indices)."""
    normalised = normalise(raw)
    mean = normalised[reference].mean(dim=0)
    scale = normalised[reference].std(dim=0)
    # A dead feature has no scale; dividing rounding noise by rounding noise would make one up.
    scale = torch.where(scale > 1e-6, scale, 1.0)
    return Embedded(method=method, run=run, raw=raw, mean=mean, scale=scale, features=(normalised - mean) / scale)


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head with its temperature, and what it says about every image."""

    weight: Tensor
    """Float32[classes, d]."""
    bias: Tensor
    """Float32[classes]."""
    temperature: float
    l2: float
    """Strength chosen; 0 for a network's own head."""
    own: bool
    """Whether it is the network's own head, on features as they are."""
    validation_error: float
    """Mean negative log-likelihood on the validation labels used."""
    logits: Tensor
    """Float32[n, classes], before temperature."""

    @property
    def probabilities(self) -> Tensor:
        """Float32[n, classes], calibrated."""
        return torch.softmax(self.logits / self.temperature, dim=1)


SHARED = 1.5
"""Lessons are solved together where all their images are at most so many times those of one."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What one head may learn from, and be judged by."""

    labels: Tensor
    """Int64[n]; read at `training` and `validation` only."""
    training: Tensor
    """Indices of the training images used."""
    validation: Tensor
    """Indices of the validation images used; none leaves the strongest L2 strength."""


def fit_best(
    features: Tensor,
    lessons: Sequence[Lesson],
    classes: int,
    *,
    l2: tuple[float, ...],
    balance: float,
    noise: LabelNoise | None = None,
    curvature: Curvature | None = None,
) -> list[FittedHead]:
    """For each lesson the head, of one for each L2 strength, that explains its validation labels best.

    All lessons' heads are solved together where they share enough images for that to save time.

    Args:
        features: Float32[n, d], standardised.
        lessons: At least one.
        classes: Number of classes.
        l2: Strengths to try.
        balance: See `balanced_weights`.
        noise: How validation labels are wrong.
        curvature: See `fit_heads`.
    """
    rows = torch.cat([lesson.training for lesson in lessons]).unique()  # type: ignore[no-untyped-call]
    if len(lessons) > 1 and len(rows) > SHARED * sum(len(lesson.training) for lesson in lessons) / len(lessons):
        shared = curvature or Curvature(features[rows[:: max(1, len(rows) // (2 * features.shape[1]))]], classes)
        return [
            head
            for each in lessons
            for head in fit_best(features, [each], classes, l2=l2, balance=balance, noise=noise, curvature=shared)
        ]
    weights = torch.zeros(len(lessons), len(rows))
    labels = torch.zeros(len(lessons), len(rows), dtype=torch.int64)
    for number, lesson in enumerate(lessons):
        own, places = lesson.labels[lesson.training], torch.searchsorted(rows, lesson.training)
        labels[number, places] = own
        weights[number, places] = balanced_weights(own, classes, balance)
    tried = len(l2)
    heads = fit_heads(
        features[rows],
        labels.repeat_interleave(tried, dim=0),
        weights.repeat_interleave(tried, dim=0),
        torch.tensor(l2).repeat(len(lessons)),
        classes,
        curvature=curvature,
    )
    found = []
    for number, lesson in enumerate(lessons):
        mine = slice(number * tried, (number + 1) * tried)
        tries = Heads(heads.weight[mine], heads.bias[mine])
        logits = tries.logits(features[lesson.validation])
        fits = [_judge(each, lesson.labels[lesson.validation], noise) for each in logits]
        best = min(range(tried), key=lambda index: (fits[index][1], -l2[index]))
        found.append(
            FittedHead(
                weight=tries.weight[best],
                bias=tries.bias[best],
                temperature=fits[best][0],
                l2=l2[best],
                own=False,
                validation_error=fits[best][1],
                logits=features @ tries.weight[best].T + tries.bias[best],
            )
        )
    return found


def own_head(
    embedded: Embedded, names: tuple[str, ...], labels: Tensor, validation: Tensor, noise: LabelNoise | None = None
) -> FittedHead | None:
    """The head that the network was trained with, in the order of `names`; None where it has none."""
    head = embedded.run.head
    if head is None:
        return None
    weight = torch.zeros(len(names), embedded.raw.shape[1])
    bias = torch.full((len(names),), ABSENT_BIAS)
    for row, name in enumerate(embedded.run.regions):
        if name in names:
            weight[names.index(name)], bias[names.index(name)] = head["weight"][row].float(), head["bias"][row].float()
    logits = embedded.raw @ weight.T + bias
    temperature, error = _judge(logits[validation], labels[validation], noise)
    return FittedHead(
        weight=weight,
        bias=bias,
        temperature=temperature,
        l2=0.0,
        own=True,
        validation_error=error,
        logits=logits,
    )


def better(probe: FittedHead, own: FittedHead | None) -> FittedHead:
    """The linear probe or the network's own head, whichever explains the validation labels better."""
    return own if own is not None and own.validation_error < probe.validation_error else probe


def _judge(logits: Tensor, labels: Tensor, noise: LabelNoise | None) -> tuple[float, float]:
    """Temperature and mean negative log-likelihood on the validation images."""
    temperature = fit_temperature(logits, labels, noise)
    if not len(labels):
        return temperature, 0.0
    probabilities = torch.softmax(logits / temperature, dim=1)
    return temperature, float(negative_log_likelihood(probabilities, labels, noise).mean())


def out_of_fold(
    features: Tensor, labels: Tensor, rows: Tensor, folds: Tensor, classes: int, *, l2: float, balance: float
) -> Tensor:
    """Logits of every image from a head that saw no image of its patient.

    Args:
        features: Float32[n, d], standardised.
        labels: Int64[n].
        rows: Indices of the labelled images that may be trained on.
        folds: Int64[n], by patient.
        classes: Number of classes.
        l2: Strength.
        balance: See `balanced_weights`.

    Returns:
        Float32[n, classes].
    """
    count = int(folds.max()) + 1
    own = labels[rows]
    weights = balanced_weights(own, classes, balance) * (folds[rows][None] != torch.arange(count)[:, None])
    heads = fit_heads(features[rows], own, weights, torch.full((count,), l2), classes)
    return heads.logits(features)[folds, torch.arange(len(features))]
