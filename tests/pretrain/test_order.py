"""The order of samples: a function of seed and position, the same on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from radray.pretrain.order import batch_indices, permutation


@pytest.mark.parametrize(("samples", "batch"), [(10, 4), (7, 7), (100, 32), (33, 16)])
def test_every_sample_comes_once_an_epoch(samples: int, batch: int) -> None:
    stream = np.concatenate([batch_indices(samples, 5, position, batch) for position in range(0, 20 * samples, batch)])
    for epoch in range(10):
        part = stream[epoch * samples : (epoch + 1) * samples]
        assert sorted(part.tolist()) == list(range(samples))
        assert np.array_equal(part, permutation(samples, 5, epoch))


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_the_global_batch(world: int) -> None:
    whole = batch_indices(50, 1, 48, 16)
    parts = [batch_indices(50, 1, 48, 16, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_epochs_and_seeds_differ() -> None:
    assert not np.array_equal(permutation(100, 0, 0), permutation(100, 0, 1))
    assert not np.array_equal(permutation(100, 0, 0), permutation(100, 1, 0))
