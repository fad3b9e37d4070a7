"""How suspicious each given label is, and the probability that it is wrong.

Two opinions are pooled, log-linearly: the ensemble's out-of-fold probabilities, and the votes of the nearest images of
other patients. The queue's order is the pooled odds of the best other class against the given one. On wrong labels
planted along realistic confusions (benchmarks/audit.py) that order found more than every witness below alone, than
their means and rank means, and than a logistic regression that was taught on labels flipped for the purpose.

The witnesses are kept as evidence; each lies in [0, 1], higher is more suspicious:

- self-doubt, 1 − out-of-fold probability of the given label;
- margin, the best other class against the given one;
- neighbour disagreement, the share of the neighbours' votes that another label has;
- distance, how much nearer the nearest image of another label lies than the nearest of the same (Gröger et al.,
  SelfClean, arXiv 2305.17048, on a graph of neighbours).

P(label wrong) is Bayes' rule on the pooled opinion, with labels as wrong as `LabelNoise` says and in the share that
explains them best (expectation maximisation), made monotone along the queue by isotonic regression.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from radray.audit.neighbours import Neighbours

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NEIGHBOUR_WEIGHT = 0.2
"""Share of the neighbours' votes in the pool: measured on real and synthetic archives, .1 to .3 do as well."""
_FLOOR = 1e-4
"""No probability is taken to be smaller: neither a model nor twenty neighbours know better."""
_STEPS = 100


class Suspicion(NamedTuple):
    """Scores of n labelled images, float64 [n] each, 0 to 1, higher is more suspicious."""

    suspicion: Floats
    """The queue's order: odds of the best other class, as a share."""
    wrong_probability: Floats
    """P(label wrong); never falls where `suspicion` rises."""
    self_doubt: Floats
    """1 − probability of the given label."""
    margin: Floats
    """Best other class against the given one, normalised."""
    neighbour_disagreement: Floats
    """Share of the neighbours' votes that another label has."""
    distance: Floats
    """Nearness of another label against that of the same."""
    pooled: Floats
    """Float64 [n, classes]: ensemble and neighbours pooled; its best class is what is suggested."""


def self_doubt(labels: Indices, probabilities: Floats) -> Floats:
    """1 − P(given label): float64 [n]."""
    doubt: Floats = 1 - probabilities[np.arange(len(labels)), labels]
    return doubt


def best_other(labels: Indices, probabilities: Floats) -> Floats:
    """The largest probability of any class but the given one: float64 [n]."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    best: Floats = others.max(axis=1)
    return best


def margin_doubt(labels: Indices, probabilities: Floats) -> Floats:
    """(best other class − given class + 1) / 2: float64 [n]."""
    doubt: Floats = (best_other(labels, probabilities) + self_doubt(labels, probabilities)) / 2
    return doubt


def odds_doubt(labels: Indices, probabilities: Floats) -> Floats:
    """Log odds of the best other class less those of the given one, squeezed into a share: float64 [n]."""
    given = 1 - self_doubt(labels, probabilities)
    share: Floats = 1 / (1 + np.exp((_log_odds(given) - _log_odds(best_other(labels, probabilities))) / 2))
    return share


def distance_doubt(neighbours: Neighbours, labels: Indices, rows: Indices) -> Floats:
    """Squared distance to the nearest image of the same label, over that plus the one to the nearest of another.

    Where no neighbour has the same label, or none another, it is taken to lie a little beyond the last of them.

    Args:
        neighbours: Of all images.
        labels: Int64 [all images], −1 without.
        rows: Int64 [n], the labelled images wanted.

    Returns:
        Float64 [n]; one half without neighbours.
    """
    near = neighbours.indices[rows]
    voters = np.where(near >= 0, labels[near], -1)
    squared = np.maximum(2 - 2 * neighbours.similarities[rows].astype(np.float64), 1e-6)
    same = voters == labels[rows, None]
    nearest = []
    for kind in (same, (voters >= 0) & ~same):
        own = np.where(kind, squared, np.inf).min(axis=1, initial=np.inf)
        nearest.append(np.where(np.isfinite(own), own, 1.2 * squared.max(axis=1, initial=1e-6)))
    doubt: Floats = nearest[0] / (nearest[0] + nearest[1])
    return doubt


def pool(probabilities: Floats, votes: Floats, weight: float = NEIGHBOUR_WEIGHT) -> Floats:
    """Log-linear pool of two opinions: float64 [n, classes], rows sum to 1."""
    logs = (1 - weight) * np.log(np.maximum(probabilities, _FLOOR)) + weight * np.log(np.maximum(votes, _FLOOR))
    pooled = np.exp(logs - logs.max(axis=1, keepdims=True))
    result: Floats = pooled / pooled.sum(axis=1, keepdims=True)
    return result


def wrong_label_probability(labels: Indices, pooled: Floats) -> Floats:
    """P(true label ≠ given label | image, given label): float64 [n].

    Bayes' rule: a label is right with probability 1 − share, or wrong the way this archive's labels are wrong. The
    share is the one that gives itself back (expectation maximisation, Dempster et al. 1977).
    """
    import torch

    from radray.probe.noise import contradicted, estimate_noise

    opinion, given = torch.from_numpy(pooled), torch.from_numpy(labels)
    noise = estimate_noise(opinion.float(), given, contradicted(opinion.float(), given))
    right = pooled[np.arange(len(labels)), labels]
    share, wrong = noise.share, np.zeros(len(labels))
    for _ in range(_STEPS):
        likely = noise.likelihood(opinion, given, torch.tensor(share, dtype=opinion.dtype)).numpy()
        wrong = 1 - (1 - share) * right / np.maximum(likely, 1e-12)
        if abs(wrong.mean() - share) < 1e-6:
            break
        share = float(wrong.mean())
    return np.clip(wrong, 0, 1)


def suspect_labels(
    labels: Indices, probabilities: Floats, votes: Floats, neighbours: Neighbours, rows: Indices
) -> Suspicion:
    """Score some given labels.

    Args:
        labels: Int64 [all images], −1 without.
        probabilities: Float64 [all images, classes], out of fold by patient, calibrated.
        votes: Float64 [all images, classes], `neighbour_votes`.
        neighbours: Of all images.
        rows: Int64 [n], the labelled images wanted.
    """
    from sklearn.isotonic import isotonic_regression

    given, own, near = labels[rows], probabilities[rows], votes[rows]
    if not len(rows):
        nothing = np.empty(0)
        return Suspicion(nothing, nothing, nothing, nothing, nothing, nothing, own)
    pooled = pool(own, near)
    suspicion = odds_doubt(given, pooled)
    order = np.argsort(suspicion, kind="stable")
    monotone = np.empty(len(rows))
    monotone[order] = isotonic_regression(wrong_label_probability(given, pooled)[order], y_min=0, y_max=1)
    return Suspicion(
        suspicion=suspicion,
        wrong_probability=monotone,
        self_doubt=self_doubt(given, own),
        margin=margin_doubt(given, own),
        neighbour_disagreement=np.clip(self_doubt(given, near), 0, 1),
        distance=distance_doubt(neighbours, labels, rows),
        pooled=pooled,
    )


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, _FLOOR, 1 - _FLOOR)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds
