"""Temperatures and member weights, fitted on validation labels of which a share may be wrong.

A label's likelihood is that of `LabelNoise`: right, or wrong the way this archive's labels are wrong. Without that a
few wrong labels would make every probability too timid; taken as wrong at random, which they are not, nearly as much.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from radray.ensemble.pooling import LEAST
from radray.probe.noise import MOST, LabelNoise

_LOWEST, _HIGHEST, _COARSE = -3.5, 3.0, 0.25
"""Natural logarithms of the temperatures tried, and the first grid's step; a second one is ten times finer."""


def negative_log_likelihood(
    probabilities: Tensor, labels: Tensor, noise: LabelNoise | None = None, share: Tensor | None = None
) -> Tensor:
    """Of each label: Float[..., n, classes] and Int64[n] to Float[..., n]; `share` stands for that of `noise`."""
    if noise is None:
        chosen = probabilities.gather(-1, labels.expand(probabilities.shape[:-1])[..., None])[..., 0]
    else:
        chosen = noise.likelihood(probabilities, labels, share)
    return -chosen.clamp_min(1e-12).log()


def fit_temperature(logits: Tensor, labels: Tensor, noise: LabelNoise | None = None) -> float:
    """The temperature under which softmax(logits / t) explains the labels best (Guo et al., arXiv 1706.04599).

    A weak prior, worth one image at t = e^±1.4, keeps it finite where few images are there.

    Args:
        logits: Float32[n, classes], n may be 0.
        labels: Int64[n].
        noise: How labels are wrong; None for labels that are right.

    Returns:
        About 0.02 to 25; 1.0 without images.
    """
    if not len(labels):
        return 1.0

    def best(grid: Tensor) -> float:
        losses = [
            negative_log_likelihood(torch.softmax(logits / log_t.exp(), dim=1), labels, noise).sum() + 0.5 * log_t**2
            for log_t in grid
        ]
        return float(grid[torch.stack(losses).argmin()])

    coarse = best(torch.arange(_LOWEST, _HIGHEST + _COARSE / 2, _COARSE))
    return math.exp(best(coarse + torch.linspace(-_COARSE, _COARSE, 21)))


def fit_pool(
    probabilities: Tensor, labels: Tensor, noise: LabelNoise | None = None, *, prior: float = 0.1
) -> tuple[Tensor, float, float]:
    """Weights and temperature of the members' geometric mean under which it explains the labels best.

    The share of wrong labels is fitted with them: those found to be wrong are only the plain ones.

    Args:
        probabilities: Float32[members, n, classes], calibrated; n may be 0.
        labels: Int64[n].
        noise: How labels are wrong; its share is where the search begins.
        prior: Pulls the logarithms of the weights towards those of the plain mean.

    Returns:
        Float32[members], not negative, sum 1; the temperature; and the share of wrong labels, at most `MOST`.
    """
    members, count = probabilities.shape[:2]
    start = torch.full((members,), -math.log(members), dtype=torch.float64)
    if not count:
        return start.exp().float(), 1.0, noise.share if noise else 0.0
    opinions = probabilities.double().clamp_min(LEAST).log()
    weights = start.clone().requires_grad_()
    # The share is a sigmoid between 0 and MOST.
    known = torch.logit(torch.tensor((noise.share if noise else 0.0) / MOST, dtype=torch.float64), eps=1e-2)
    odds = known.clone().requires_grad_()
    solver = torch.optim.LBFGS([weights, odds], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        solver.zero_grad()
        pooled = torch.softmax(torch.einsum("m,mnc->nc", weights.exp(), opinions), dim=1)
        likely = negative_log_likelihood(pooled, labels, noise, MOST * torch.sigmoid(odds)).sum()
        value = likely + prior * ((weights - start) ** 2).sum() + 0.5 * (odds - known) ** 2
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    solver.step(loss)  # type: ignore[no-untyped-call]
    found = weights.detach().exp()
    share = float(MOST * torch.sigmoid(odds.detach())) if noise else 0.0
    return (found / found.sum()).float(), float(1 / found.sum()), share
