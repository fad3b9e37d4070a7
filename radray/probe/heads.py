"""Linear heads on one method's frozen features: the best L2 strength, out-of-fold heads, and a network's own head."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from radray import storage
from radray.ensemble.features import normalise
from radray.images.split import TEST
from radray.pretrain.run import Run
from radray.probe.calibration import fit_temperature, negative_log_likelihood
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.embedding import embed_images
from radray.probe.logistic import ABSENT_BIAS, balanced_weights, fit_heads


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


def standardise(method: str, run: Run, raw: Tensor, reference: Tensor) -> Embedded:
    """Normalise features and standardise them by the rows `reference` (indices)."""
    normalised = normalise(raw)
    mean = normalised[reference].mean(dim=0)
    scale = normalised[reference].std(dim=0)
    # A dead feature has no scale; dividing rounding noise by rounding noise would make one up.
    scale = torch.where(scale > 1e-6, scale, 1.0)
    return Embedded(method=method, run=run, raw=raw, mean=mean, scale=scale, features=(normalised - mean) / scale)


def embed_run(run: Run, cohort: Cohort, name: str, config: ProbeConfig, rows: Tensor | None = None) -> Embedded:
    """A run's features of the cohort, kept in features/<name>.parquet, standardised without the test split.

    Args:
        run: Gives the backbone.
        cohort: n images.
        name: Of the table.
        config: Views, batch and output.
        rows: Sorted indices of the images needed; the features of the others are 0. None for all.
    """
    place = storage.join(config.output, "features", f"{name}.parquet")
    needed = torch.arange(len(cohort)) if rows is None else rows
    radiographs = cohort.radiographs if rows is None else cohort.radiographs.take(rows.numpy())
    features = embed_images(run, radiographs, place, config.views, config.batch)
    raw = torch.zeros(len(cohort), features.shape[1])
    raw[needed] = torch.from_numpy(features.astype(np.float32))
    return standardise(run.method, run, raw, needed[torch.from_numpy(cohort.split != TEST)[needed]])


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


def fit_best(
    features: Tensor,
    labels: Tensor,
    training: Tensor,
    validation: Tensor,
    classes: int,
    *,
    l2: tuple[float, ...],
    balance: float,
    noise: float = 0.0,
) -> FittedHead:
    """Fit a head for each L2 strength and take the one that explains the validation labels best.

    Args:
        features: Float32[n, d], standardised.
        labels: Int64[n].
        training: Indices of the training images used.
        validation: Indices of the validation images used; none leaves the strongest.
        classes: Number of classes.
        l2: Strengths to try.
        balance: See `balanced_weights`.
        noise: Share of wrong labels on validation.
    """
    own = labels[training]
    weights = balanced_weights(own, classes, balance).expand(len(l2), -1)
    heads = fit_heads(features[training], own, weights, torch.tensor(l2), classes)
    logits = heads.logits(features)
    fits = [_judge(each, labels, validation, noise) for each in logits]
    best = min(range(len(l2)), key=lambda index: (fits[index][1], -l2[index]))
    return FittedHead(
        weight=heads.weight[best],
        bias=heads.bias[best],
        temperature=fits[best][0],
        l2=l2[best],
        own=False,
        validation_error=fits[best][1],
        logits=logits[best].contiguous(),
    )


def own_head(
    embedded: Embedded, names: tuple[str, ...], labels: Tensor, validation: Tensor, noise: float = 0.0
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
    temperature, error = _judge(logits, labels, validation, noise)
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


def _judge(logits: Tensor, labels: Tensor, validation: Tensor, noise: float) -> tuple[float, float]:
    """Temperature and mean negative log-likelihood on the validation images."""
    own = labels[validation]
    temperature = fit_temperature(logits[validation], own, noise)
    if not len(own):
        return temperature, 0.0
    probabilities = torch.softmax(logits[validation] / temperature, dim=1)
    return temperature, float(negative_log_likelihood(probabilities, own, noise).mean())


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
