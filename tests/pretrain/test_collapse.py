"""Indicators of collapse against slow twins, at the two ends of their scale."""

from __future__ import annotations

import math

import pytest
import torch

from radray.pretrain.collapse import collapse_indicators


def test_they_match_their_slow_twins() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)
    found = collapse_indicators((first, second))
    a = [row / row.norm() for row in first]
    b = [row / row.norm() for row in second]
    pairs = [(i, j) for i in range(7) for j in range(i)]
    uniformity = math.log(sum(math.exp(-2 * float((a[i] - a[j]).norm()) ** 2) for i, j in pairs) / len(pairs))
    alignment = sum(float((x - y).norm()) ** 2 for x, y in zip(a, b, strict=True)) / 7
    assert found["uniformity"] == pytest.approx(uniformity, rel=1e-4)
    assert found["alignment"] == pytest.approx(alignment, rel=1e-4)


def test_collapsed_and_spread_features_are_told_apart() -> None:
    spread = torch.randn(400, 64, generator=torch.Generator().manual_seed(1))
    collapsed = torch.ones(400, 64) + 1e-4 * spread
    told = collapse_indicators((spread, spread))
    assert told["feature_std"] == pytest.approx(1, abs=0.05) and told["alignment"] == 0 and told["uniformity"] < -3
    told = collapse_indicators((collapsed,))
    assert told["feature_std"] < 0.01 and told["uniformity"] > -0.01 and "alignment" not in told
    assert collapse_indicators(()) == {}
