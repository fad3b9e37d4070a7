"""Pairs of images that look the same: perceptual hashes within a few bits, found without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HASH_BITS = 64
MANY = 8
"""Images of one hash up to which all of them are paired; blank and nearly blank images come in thousands."""
_FURTHEST = 2_000
"""Hashes of one bucket that each is compared with; only hashes of hardly any detail fill larger ones."""


class Pairs(NamedTuple):
    """Near-duplicate pairs, sorted by (first, second), first < second."""

    first: npt.NDArray[np.int64]
    """Int64 [m]."""
    second: npt.NDArray[np.int64]
    """Int64 [m]."""
    distance: npt.NDArray[np.int64]
    """Int64 [m]: bits that differ."""


def find_near_pairs(hashes: npt.NDArray[np.int64], max_distance: int = 4) -> Pairs:
    """Pairs of hashes that differ in at most `max_distance` bits.

    All of them, but for hashes that more than `MANY` images share: there the first image stands for the others, each of
    which is paired with it. An image that is like an earlier one is always the second of some pair.

    The bits are cut into max_distance + 2 pieces. Two such hashes agree in two of the pieces at least, so it is enough
    to compare hashes within the buckets of each pair of pieces (pigeonhole; Manku et al., WWW 2007).

    Args:
        hashes: Int64 [n], the bits of each image's hash.
        max_distance: 0 to 8.
    """
    bits, groups = _group(hashes.view(np.uint64))
    edges = np.linspace(0, HASH_BITS, max_distance + 3).round().astype(int)
    masks = [((1 << int(high)) - (1 << int(low))) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    found = [np.empty((0, 2), np.int64)]
    for one, other in combinations(masks, 2):
        found.extend(_pairs_in_buckets(bits, bits & np.uint64(one | other), max_distance))
    pairs = np.unique(np.concatenate([*_expand(np.concatenate(found), groups), *_pair_equals(groups)]), axis=0)
    same = hashes.view(np.uint64)
    distance = np.bitwise_count(same[pairs[:, 0]] ^ same[pairs[:, 1]]).astype(np.int64)
    return Pairs(pairs[:, 0], pairs[:, 1], distance)


def _group(bits: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], list[npt.NDArray[np.int64]]]:
    """Different hashes, and which images have each, the first one first."""
    order = np.argsort(bits, kind="stable").astype(np.int64)
    different, starts = np.unique(bits[order], return_index=True)
    return different, np.split(order, starts[1:]) if len(order) else []


def _expand(pairs: npt.NDArray[np.int64], groups: list[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
    """Pairs of different hashes to pairs of images."""
    sizes = np.array([len(group) for group in groups], np.int64)
    firsts = np.array([group[0] for group in groups], np.int64)
    yield np.sort(firsts[pairs], axis=1) if len(pairs) else np.empty((0, 2), np.int64)
    for one, other in pairs[(sizes[pairs] > 1).any(axis=1)] if len(pairs) else ():
        members = [group if len(group) <= MANY else group[:1] for group in (groups[one], groups[other])]
        yield np.sort(np.array(list(product(*members)), np.int64), axis=1)


def _pair_equals(groups: list[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
    """Pairs of images with the same hash."""
    for group in groups:
        if 1 < len(group) <= MANY:
            yield np.array(list(combinations(group, 2)), np.int64)
        elif len(group) > MANY:
            yield np.stack([np.full(len(group) - 1, group[0]), group[1:]], axis=1)


def _pairs_in_buckets(
    bits: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], max_distance: int
) -> list[npt.NDArray[np.int64]]:
    """Pairs with the same key: each row is compared with the one `step` places further in its bucket, for each step."""
    order = np.argsort(keys, kind="stable")
    keys, bits = keys[order], bits[order]
    pairs = []
    start = np.arange(len(keys))
    step = 0
    while len(start) and step < _FURTHEST:
        step += 1
        start = start[start + step < len(keys)]
        start = start[keys[start] == keys[start + step]]
        near = start[np.bitwise_count(bits[start] ^ bits[start + step]) <= max_distance]
        pairs.append(np.sort(np.stack([order[near], order[near + step]], axis=1), axis=1))
    return pairs


def find_equal_pairs(values: npt.NDArray[np.object_]) -> Pairs:
    """Each repeated value with its first occurrence; None is never a repetition.

    Args:
        values: Object [n], strings or None.
    """
    seen: dict[str, int] = {}
    pairs = [
        (seen[value], place)
        for place, value in enumerate(values)
        if value is not None and seen.setdefault(value, place) != place
    ]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return Pairs(both[:, 0], both[:, 1], np.zeros(len(both), np.int64))
