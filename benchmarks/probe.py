"""Linear probes over label fractions: all heads solved together against scikit-learn's one by one.

Features are drawn: 14 unbalanced regions, each of three clusters in a space of low rank, rectified as a network's
pooled features are. For each method there are five draws of labels for seven nested fractions; at 100 % all draws are
the same, and one head stands for them on both sides. scikit-learn fits the first draw of each fraction, on one method;
its time is counted for every draw and method.

python benchmarks/probe.py [--images 50000] [--dimension 2048] [--methods 4]
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch
from common import print_results, result
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from radray.ensemble.features import normalise
from radray.images.budgets import labelled_subset
from radray.probe.heads import FittedHead, Lesson, fit_best
from radray.probe.logistic import balanced_weights

CLASSES, TEST_SHARE = 14, 0.2
FRACTIONS = ("0.1%", "0.5%", "1%", "5%", "10%", "50%", "100%")
BALANCE = 0.5


def draw_features(count: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Standardised Float32[count, dimension] and labels Int64[count]."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.linspace(0, -2.5, CLASSES).exp()
    labels = torch.multinomial(shares, count, replacement=True, generator=generator)
    rank = 64
    centres = torch.randn(CLASSES * 3, rank, generator=generator)
    cluster = labels * 3 + torch.randint(0, 3, (count,), generator=generator)
    inner = centres[cluster] + 1.6 * torch.randn(count, rank, generator=generator)
    basis = torch.randn(rank, dimension, generator=generator) / rank**0.5
    raw = torch.relu(inner @ basis + 0.5 * torch.randn(count, dimension, generator=generator))
    features = normalise(raw)
    return (features - features.mean(0)) / features.std(0).clamp_min(1e-6), labels


def lessons_of(labels: Tensor, fraction: str, seeds: int) -> list[Lesson]:
    """One lesson a draw; one alone at 100 %."""
    names = np.array([f"{label:02d}" for label in labels.tolist()])
    found = []
    for seed in range(1 if fraction == "100%" else seeds):
        rows = torch.from_numpy(labelled_subset(names, fraction, seed))
        found.append(Lesson(labels=labels, training=rows, validation=rows[:0]))
    return found


def accuracy(head: FittedHead, labels: Tensor, first: int) -> float:
    """On the rows from `first` on."""
    return float((head.logits[first:].argmax(dim=1) == labels[first:]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--methods", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--l2", type=float, nargs="+", default=(0.1,), help="strengths that each head is solved for")
    given = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    training = int(given.images * (1 - TEST_SHARE))
    ours, theirs, differences = 0.0, 0.0, []
    print(f"{'method, fraction':<20}{'heads':>6}{'together, s':>13}{'one by one, s':>15}{'accuracy':>10}{'theirs':>8}")
    for method in range(given.methods):
        features, labels = draw_features(given.images, given.dimension, method)
        for fraction in FRACTIONS:
            lessons = lessons_of(labels[:training], fraction, given.seeds)
            started = time.monotonic()
            heads = fit_best(features, lessons, CLASSES, l2=tuple(given.l2), balance=BALANCE)
            seconds = time.monotonic() - started
            ours += seconds
            line = f"{method}, {fraction:<17}{len(lessons):>6}{seconds:>13.2f}"
            if method:
                print(
                    f"{line}{'':>15}{np.mean([accuracy(head, labels, training) for head in heads]):>10.4f}", flush=True
                )
                continue
            rows = lessons[0].training
            weights = balanced_weights(labels[rows], CLASSES, BALANCE)
            started = time.monotonic()
            twins = [LogisticRegression(C=1 / strength, max_iter=2000) for strength in given.l2]
            for twin in twins:
                twin.fit(features[rows].numpy(), labels[rows].numpy(), (weights / weights.sum()).numpy())
            alone = (time.monotonic() - started) * len(lessons)
            theirs += alone * given.methods
            own = accuracy(heads[0], labels, training)
            chosen = twins[tuple(given.l2).index(heads[0].l2)]
            other = float(chosen.score(features[training:].numpy(), labels[training:].numpy()))
            differences.append(abs(own - other))
            print(f"{line}{alone:>15.2f}{own:>10.4f}{other:>8.4f}", flush=True)
    print(f"{ours:.0f} s together, {theirs:.0f} s one by one")
    results = {
        "strengths of each head": result(len(given.l2)),
        "seconds, all heads": result(round(ours, 1), 300, round(theirs, 1), least=False),
        "speed over scikit-learn one by one": result(round(theirs / ours, 1), 10, 1.0),
        "largest difference in accuracy": result(round(max(differences), 5), 0.002, least=False),
    }
    print_results("probe", ("torch", "scikit-learn"), results)


if __name__ == "__main__":
    main()
