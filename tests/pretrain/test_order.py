"""The order of samples: a function of seed and position, the same on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from radray.pretrain.order import StudyMates, batch_indices, permutation


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


STUDIES = np.array([3, 1, 3, -1, 1, 3, 2, -1, *[9] * 7])


def test_mates_are_other_images_of_the_same_study() -> None:
    mates, index = StudyMates(STUDIES), np.tile(np.arange(len(STUDIES)), 200)
    shown = mates.draw(index, 1.0, (0, 1))
    assert (STUDIES[shown] == STUDIES[index]).all()
    alone = np.isin(index, [3, 6, 7]) | (STUDIES[index] == 9)  # no study, no mate, too many images
    assert (shown[alone] == index[alone]).all()
    assert (shown[~alone] != index[~alone]).all()
    assert {(int(a), int(b)) for a, b in zip(index[~alone], shown[~alone], strict=True)} == {
        (0, 2), (0, 5), (2, 0), (2, 5), (5, 0), (5, 2), (1, 4), (4, 1)
    }  # fmt: skip


def test_mates_come_with_the_share_asked_for_and_from_the_seed() -> None:
    mates, index = StudyMates(STUDIES), np.zeros(4000, np.int64)
    assert abs((mates.draw(index, 0.3, (0, 1)) != 0).mean() - 0.3) < 0.03
    assert np.array_equal(mates.draw(index, 0.0, (0, 1)), index)
    assert np.array_equal(mates.draw(index, 0.3, (0, 1)), mates.draw(index, 0.3, (0, 1)))
    assert not np.array_equal(mates.draw(index, 0.3, (0, 1)), mates.draw(index, 0.3, (0, 2)))
