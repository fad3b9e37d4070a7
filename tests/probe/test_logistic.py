"""The batched solver against scikit-learn, one head at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from radray.probe.logistic import balanced_weights, fit_heads


def clouds(count: int, dimension: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping Gaussian clouds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = rng.normal(0, 0.5, (classes, dimension))
    features = centres[labels] + rng.normal(0, 1, (count, dimension))
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def sklearn_probabilities(features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, l2: float) -> np.ndarray:
    """The obvious twin."""
    keep = weights > 0
    shares = (weights / weights.sum())[keep].double().numpy()
    twin = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000)
    twin.fit(features[keep].double().numpy(), labels[keep].numpy(), sample_weight=shares)
    return twin.predict_proba(features.double().numpy())


@pytest.mark.parametrize(("count", "dimension", "classes"), [(60, 3, 3), (200, 20, 5), (40, 100, 4)])
def test_every_head_equals_scikit_learn(count: int, dimension: int, classes: int) -> None:
    features, labels = clouds(count, dimension, classes, seed=count)
    rng = np.random.default_rng(1)
    weights = torch.from_numpy(rng.uniform(0.2, 2, (4, count))).float()
    weights[1, ::3] = 0
    l2 = torch.tensor([0.001, 0.01, 0.1, 1.0])
    heads = fit_heads(features, labels, weights, l2, classes, steps=400, tolerance=3e-6)
    ours = torch.softmax(heads.logits(features), dim=2).numpy()
    for head in range(4):
        twin = sklearn_probabilities(features, labels, weights[head], float(l2[head]))
        np.testing.assert_allclose(ours[head], twin, atol=2e-3)


def test_heads_solved_together_equal_heads_solved_alone() -> None:
    features, labels = clouds(100, 10, 3, seed=5)
    weights, l2 = torch.rand(3, 100), torch.tensor([0.01, 0.1, 1.0])
    together = fit_heads(features, labels, weights, l2, 3, tolerance=1e-5)
    for head in range(3):
        alone = fit_heads(features, labels, weights[head : head + 1], l2[head : head + 1], 3, tolerance=1e-5)
        np.testing.assert_allclose(together.weight[head], alone.weight[0], atol=3e-3)


def test_a_class_without_images_gets_no_probability() -> None:
    features, labels = clouds(50, 4, 2, seed=2)
    heads = fit_heads(features, labels, torch.ones(1, 50), torch.tensor([0.01]), 3)
    assert torch.softmax(heads.logits(features)[0], dim=1)[:, 2].max() == 0


def test_class_weights_follow_the_stated_power() -> None:
    labels = torch.tensor([0] * 16 + [1] * 4)
    for balance, ratio in ((0.0, 4.0), (0.5, 2.0), (1.0, 1.0)):
        weights = balanced_weights(labels, 2, balance)
        assert (weights[labels == 0].sum() / weights[labels == 1].sum()).item() == pytest.approx(ratio, rel=1e-4)
