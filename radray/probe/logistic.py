"""Multinomial logistic regression, many heads at once: each with its own sample weights and L2 strength.

For head h the objective is Σᵢ wₕᵢ · CE(xᵢ, yᵢ) / Σᵢ wₕᵢ + λₕ/2 · ‖Wₕ‖², the bias free. It equals scikit-learn's
`LogisticRegression(C=1/λ)` with sample weights that sum to 1. All heads share every matrix product of a batched
L-BFGS (Liu and Nocedal 1989) with one step length a head. Its first guess of the Hessian is the features'
covariance, as in Böhning's bound (1992): a third of the steps are enough then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

ABSENT_BIAS = -1e4
"""Bias of a class without any training image: its probability is 0 in every use."""

_MEMORY = 8
_TRIES = 8
"""Step lengths tried along one direction."""
_ROUNDING = 2e-7
"""Relative differences of the objective below this are float32's, not progress."""
_ELEMENTS = 1 << 25
"""Most logits held at once; more heads are solved in several groups."""


class Heads(NamedTuple):
    """Linear heads."""

    weight: Tensor
    """Float32[heads, classes, d]."""
    bias: Tensor
    """Float32[heads, classes]."""

    def logits(self, features: Tensor) -> Tensor:
        """Float32[n, d] to Float32[heads, n, classes]."""
        return torch.einsum("nd,hcd->hnc", features, self.weight) + self.bias[:, None]


class Curvature:
    """A first guess of the Hessian that heads on the same features share: covariance / 2C + λ, all classes alike.

    A class's block of the Hessian is the covariance weighted by p (1 − p), which is 1/C (1 − 1/C) without any knowledge
    and less later on.

    Args:
        features: Float32[n, d]; some rows, evenly spread, stand for all.
        classes: C.
    """

    def __init__(self, features: Tensor, classes: int) -> None:
        some = features[:: max(1, len(features) // (2 * features.shape[1]))]
        some = torch.cat([some, torch.ones(len(some), 1, device=features.device)], dim=1)
        self._covariance = some.T @ some / (2 * classes * len(some))
        self._inverses: dict[float, Tensor] = {}

    def solve(self, slopes: Tensor, l2: Tensor) -> Tensor:
        """The guess's inverse times slopes: Float32[heads, classes · (d + 1)] and Float32[heads] to the former."""
        solved = torch.empty_like(slopes)
        for strength in set(l2.tolist()):
            mine = l2 == strength
            rows = slopes[mine].view(-1, len(self._covariance))
            solved[mine] = (rows @ self._inverse(strength)).view(-1, slopes.shape[1])
        return solved

    def _inverse(self, strength: float) -> Tensor:
        if strength not in self._inverses:
            ridge = torch.full((len(self._covariance),), strength, device=self._covariance.device)
            ridge[-1] = 1e-3  # The bias is free; this keeps the matrix regular.
            factor = torch.linalg.cholesky(self._covariance + torch.diag(ridge))
            self._inverses[strength] = torch.cholesky_inverse(factor)
        return self._inverses[strength]


def fit_heads(
    features: Tensor,
    labels: Tensor,
    sample_weights: Tensor,
    l2: Tensor,
    classes: int,
    *,
    steps: int = 150,
    tolerance: float = 1e-4,
    curvature: Curvature | None = None,
) -> Heads:
    """Fit one head for each row of `sample_weights`.

    Args:
        features: Float32[n, d], standardised.
        labels: Int64[n], or Int64[heads, n] where heads learn different labels; 0 to classes − 1, any value where the
            weight is 0.
        sample_weights: Float32[heads, n], not negative, a positive sum in each row.
        l2: Float32[heads], above 0.
        classes: Number of classes; those without weight get `ABSENT_BIAS`.
        steps: Most L-BFGS steps.
        tolerance: A head is done when no entry of its gradient is larger.
        curvature: Of these or alike features; None makes one.
    """
    used = (sample_weights > 0).any(dim=0)
    labels = labels.expand(len(sample_weights), -1).clamp_min(0)
    if not used.all():
        features, labels, sample_weights = features[used], labels[:, used], sample_weights[:, used]
    shares = sample_weights / sample_weights.sum(dim=1, keepdim=True)
    # With fewer images than features the weights lie in the span of the images: solve there, exactly (QR).
    basis = torch.linalg.qr(features.T).Q if len(features) < features.shape[1] // 2 else None
    if basis is not None:
        features, curvature = features @ basis, None
    curvature = curvature or Curvature(features, classes)
    group = max(1, _ELEMENTS // max(1, features.shape[0] * classes))
    parts = [
        _fit_group(
            features,
            labels[start : start + group],
            shares[start : start + group],
            l2[start : start + group],
            classes,
            steps,
            tolerance,
            curvature,
        )
        for start in range(0, len(shares), group)
    ]
    weight = torch.cat([part.weight for part in parts])
    return Heads(weight if basis is None else weight @ basis.T, torch.cat([part.bias for part in parts]))


def _fit_group(
    features: Tensor,
    labels: Tensor,
    shares: Tensor,
    l2: Tensor,
    classes: int,
    steps: int,
    tolerance: float,
    curvature: Curvature,
) -> Heads:
    heads, (count, dimension) = len(shares), features.shape
    mass = torch.zeros(heads, classes, device=features.device).scatter_add_(1, labels, shares)
    absent = torch.where(mass > 0, 0.0, ABSENT_BIAS)
    penalty = torch.ones(dimension + 1, device=features.device)
    penalty[-1] = 0
    weighting = shares.T.contiguous()
    chosen = labels.T[:, :, None]

    def objective(theta: Tensor) -> tuple[Tensor, Tensor]:
        matrix = theta.view(heads * classes, dimension + 1)
        # The bias stays out of the product: rows of an odd length are slow to read.
        logits = torch.addmm(matrix[:, -1], features, matrix[:, :-1].contiguous().T).view(count, heads, classes)
        logits += absent
        log_p = torch.log_softmax(logits, dim=2)
        decay = l2[:, None] * (theta.view(heads, classes, -1) * penalty).flatten(1)
        loss = 0.5 * (decay * theta).sum(dim=1) - (weighting * log_p.gather(2, chosen)[..., 0]).sum(dim=0)
        slope = log_p.exp_().mul_(weighting[..., None])
        slope.scatter_add_(2, chosen, -weighting[..., None])
        slope = slope.view(count, heads * classes)
        whole = torch.cat([slope.T @ features, slope.sum(dim=0)[:, None]], dim=1)
        return loss, whole.view(heads, -1) + decay

    theta = torch.zeros(heads, classes * (dimension + 1), device=features.device)
    theta = minimise(objective, theta, steps, tolerance, lambda slopes: curvature.solve(slopes, l2))
    solved = theta.view(heads, classes, dimension + 1)
    return Heads(solved[..., :-1].clone(), solved[..., -1] + absent)


def minimise(
    objective: Callable[[Tensor], tuple[Tensor, Tensor]],
    theta: Tensor,
    steps: int,
    tolerance: float,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Minimise independent convex functions side by side with L-BFGS and backtracking.

    Args:
        objective: Float[h, p] to values Float[h] and gradients Float[h, p].
        theta: Float[h, p], the start.
        steps: Most steps.
        tolerance: A row is done when no entry of its gradient is larger.
        precondition: Multiplies gradients Float[h, p] by a first guess of each row's inverse Hessian, up to a factor.

    Returns:
        Float[h, p].
    """
    start = precondition or (lambda slopes: slopes)
    loss, slope = objective(theta)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    running = slope.abs().amax(dim=1) > tolerance
    for _ in range(steps):
        if not running.any():
            break
        direction = -_two_loops(slope, history, start)
        descent = (direction * slope).sum(dim=1)
        uphill = descent >= 0
        direction = torch.where(uphill[:, None], -slope, direction)
        descent = torch.where(uphill, -(slope**2).sum(dim=1), descent)
        length = torch.where(running, 1.0, 0.0)
        if not history and precondition is None:
            length = length / direction.norm(dim=1).clamp_min(1.0)
        slack = _ROUNDING * loss.abs()
        for _ in range(_TRIES):
            new_theta = theta + length[:, None] * direction
            new_loss, new_slope = objective(new_theta)
            failed = running & (new_loss > loss + 1e-4 * length * descent + slack)
            if not failed.any():
                break
            length = torch.where(failed, length * 0.4, length)
        # A row that finds no lower value any more stands at the limit of float32.
        running = running & ~failed
        settled = (loss - new_loss).abs() <= slack
        moved = running[:, None]
        step, change = torch.where(moved, new_theta - theta, 0.0), torch.where(moved, new_slope - slope, 0.0)
        curvature = (step * change).sum(dim=1)
        history.append((step, change, torch.where(curvature > 1e-12, 1 / curvature.clamp_min(1e-12), 0.0)))
        history = history[-_MEMORY:]
        theta = torch.where(moved, new_theta, theta)
        loss = torch.where(running, new_loss, loss)
        slope = torch.where(moved, new_slope, slope)
        running = running & ~settled & (slope.abs().amax(dim=1) > tolerance)
    return theta


def _two_loops(
    slope: Tensor, history: list[tuple[Tensor, Tensor, Tensor]], start: Callable[[Tensor], Tensor]
) -> Tensor:
    """The two loops of L-BFGS, each row with its own scalars; pairs with rho 0 have no effect."""
    result = slope
    alphas = []
    for step, change, rho in reversed(history):
        alpha = rho * (step * result).sum(dim=1)
        alphas.append(alpha)
        result = result - alpha[:, None] * change
    result = start(result)
    if history:
        step, change, rho = history[-1]
        size = (change * start(change)).sum(dim=1)
        scale = torch.where((rho > 0) & (size > 0), 1 / (rho * size).clamp_min(1e-20), 1.0)
        result = result * scale[:, None]
    for (step, change, rho), alpha in zip(history, reversed(alphas), strict=True):
        beta = rho * (change * result).sum(dim=1)
        result = result + (alpha - beta)[:, None] * step
    return result


def balanced_weights(labels: Tensor, classes: int, balance: float) -> Tensor:
    """Sample weights that give a class of n images a total weight of n^(1 − balance).

    Args:
        labels: Int64[n].
        classes: Number of classes.
        balance: 0 weighs every image alike, 1 every class alike.

    Returns:
        Float32[n], mean 1.
    """
    counts = torch.bincount(labels, minlength=classes).clamp_min(1).float()
    weights = (counts**-balance)[labels]
    return weights / weights.mean()
