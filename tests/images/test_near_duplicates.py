import numpy as np
import pytest

from radray.images.near_duplicates import find_equal_pairs, find_near_pairs


def planted_hashes(seed=0):
    """Random hashes and relatives of some of them with 0 to 8 bits turned."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(-(2**63), 2**63 - 1, 200, dtype=np.int64)
    relatives = hashes[:120].view(np.uint64).copy()
    for place in range(len(relatives)):
        for bit in rng.choice(64, place % 9, replace=False):
            relatives[place] ^= np.uint64(1 << int(bit))
    return np.concatenate([hashes, relatives.view(np.int64), hashes[:3]])


@pytest.mark.parametrize("max_distance", [0, 1, 4, 8])
def test_bucket_search_equals_comparing_all_with_all(max_distance):
    hashes = planted_hashes()
    bits = hashes.view(np.uint64)
    distance = np.bitwise_count(bits[:, None] ^ bits[None, :])
    first, second = np.nonzero(np.triu(distance <= max_distance, 1))
    pairs = find_near_pairs(hashes, max_distance)
    assert len(first) > 0
    assert pairs.first.tolist() == first.tolist()
    assert pairs.second.tolist() == second.tolist()
    assert pairs.distance.tolist() == distance[first, second].tolist()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_hashes_have_no_pairs(count):
    assert len(find_near_pairs(np.zeros(count, np.int64)).first) == 0


def test_equal_values_are_paired_with_their_first():
    pairs = find_equal_pairs(np.array(["a", None, "b", "a", None, "a"], object))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 3), (0, 5)]


def test_thousands_of_equal_hashes_are_paired_with_their_first_and_cost_little():
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63 - 1, 6000, dtype=np.int64)
    hashes[1000:] = hashes[0]
    hashes[7] = hashes[0] ^ 1
    pairs = find_near_pairs(hashes, 4)
    assert len(pairs.first) == 5000 + 1
    assert set(pairs.second.tolist()) == {7, *range(1000, 6000)}
    assert (pairs.first == 0).all()
