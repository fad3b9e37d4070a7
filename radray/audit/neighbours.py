"""Nearest neighbours in feature space: exact for small archives, by inverted lists (faiss) for large ones.

Memory grows with the number of images, never with its square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

EXACT_IMAGES = 50_000
"""Up to so many images all are compared with all, in blocks."""
_BLOCK = 16_384
"""Images looked up together."""
_SPARE = 24
"""Neighbours looked up beyond those wanted, in place of the patient's own images."""
_IMAGES_PER_LIST = 250
_LISTS_PROBED = 16
_SAMPLE_PER_LIST = 48
Indices = npt.NDArray[np.int64]
Points = npt.NDArray[np.float32]


class Neighbours(NamedTuple):
    """The k nearest images of each image, nearest first."""

    indices: npt.NDArray[np.int64]
    """Int64 [n, k]; −1 where fewer than k images of other groups were found."""
    similarities: npt.NDArray[np.float32]
    """Float32 [n, k]: cosine similarity, −1 to 1; −1 where there is none."""


def unit_rows(features: npt.NDArray[np.floating]) -> Points:
    """Centre features on their mean and scale each row to length 1: float32 [n, d]."""
    centred = features.astype(np.float32) - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Points = centred / np.maximum(length, 1e-12)
    return unit


def find_neighbours(
    unit: Points, groups: Indices, k: int, *, block: int = 1024, exact_images: int = EXACT_IMAGES
) -> Neighbours:
    """Find the k most similar images of other groups (patients) for each image.

    A patient's other images are left out: they share the label's mistake too often to be witnesses.

    Args:
        unit: Float32 [n, d], rows of length 1; rows of zeros are nobody's neighbours and have none.
        groups: Int64 [n], the patient of each image.
        k: Neighbours wanted; at most n − 1 are found.
        block: Rows compared with all others at a time.
        exact_images: With more images than this the nearest few lists alone are looked through.
    """
    count = min(k, max(len(unit) - 1, 0))
    known = np.flatnonzero(unit.any(axis=1))
    if len(known) < len(unit):
        indices, similarities = np.full((len(unit), count), -1, np.int64), np.full((len(unit), count), -1, np.float32)
        among = find_neighbours(unit[known], groups[known], count, block=block, exact_images=exact_images)
        wide = among.indices.shape[1]
        indices[known, :wide] = np.where(among.indices >= 0, known[among.indices], -1)
        similarities[known, :wide] = among.similarities
        return Neighbours(indices, similarities)
    if len(unit) <= exact_images:
        return _compare_all(unit, groups, count, np.arange(len(unit)), block)
    found = _search_lists(unit, groups, count)
    few = np.flatnonzero(found.indices[:, -1] < 0)
    again = _compare_all(unit, groups, count, few, block)
    found.indices[few], found.similarities[few] = again
    return found


def _compare_all(unit: Points, groups: Indices, count: int, wanted: Indices, block: int) -> Neighbours:
    """Exact neighbours of the images `wanted`."""
    indices = np.full((len(wanted), count), -1, np.int64)
    similarities = np.full((len(wanted), count), -1, np.float32)
    everything, owner = torch.from_numpy(unit), torch.from_numpy(groups)
    for start in range(0, len(wanted) if count else 0, block):
        rows = torch.from_numpy(wanted[start : start + block])
        similarity = everything[rows] @ everything.T
        similarity[owner[rows, None] == owner[None, :]] = -torch.inf
        best = similarity.topk(count, dim=1)
        found = torch.isfinite(best.values).numpy()
        indices[start : start + block] = np.where(found, best.indices.numpy(), -1)
        similarities[start : start + block] = np.where(found, best.values.numpy(), -1)
    return Neighbours(indices, similarities)


def _search_lists(unit: Points, groups: Indices, count: int) -> Neighbours:
    """Neighbours among the nearest `_LISTS_PROBED` of n / `_IMAGES_PER_LIST` lists (Sivic and Zisserman, ICCV 2003)."""
    import faiss

    dimension, lists = unit.shape[1], max(1, len(unit) // _IMAGES_PER_LIST)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid, index.cp.niter, index.cp.seed = _SAMPLE_PER_LIST, 8, 1
    index.train(unit)
    index.add(unit)
    index.nprobe = _LISTS_PROBED
    indices = np.full((len(unit), count), -1, np.int64)
    similarities = np.full((len(unit), count), -1, np.float32)
    for start in range(0, len(unit), _BLOCK):
        some = slice(start, start + _BLOCK)
        near, found = index.search(unit[some], count + _SPARE)
        stranger = (found >= 0) & (groups[found] != groups[some, None])
        order = np.argsort(~stranger, axis=1, kind="stable")[:, :count]
        kept = np.take_along_axis(stranger, order, axis=1)
        indices[some] = np.where(kept, np.take_along_axis(found, order, axis=1), -1)
        similarities[some] = np.where(kept, np.take_along_axis(near, order, axis=1), -1)
    return Neighbours(indices, similarities)


def neighbour_votes(
    neighbours: Neighbours, labels: Indices, classes: int, *, sharpness: float = 10.0
) -> npt.NDArray[np.float64]:
    """The label distribution among each image's neighbours.

    Args:
        neighbours: Of n images.
        labels: Int64 [n], the class of each image, −1 where it has no label (such neighbours do not vote).
        classes: Number of classes.
        sharpness: A neighbour votes with exp(sharpness x similarity), relative to the nearest.

    Returns:
        Float64 [n, classes], rows sum to 1; uniform where no neighbour has a label.
    """
    voters = np.where(neighbours.indices >= 0, labels[neighbours.indices], -1)
    weights = np.exp(sharpness * (neighbours.similarities - neighbours.similarities.max(axis=1, initial=-1)[:, None]))
    votes = np.zeros((len(labels), classes))
    for column in range(voters.shape[1]):
        voting = voters[:, column] >= 0
        votes[np.flatnonzero(voting), voters[voting, column]] += weights[voting, column]
    total = votes.sum(axis=1, keepdims=True)
    uniform = np.full((1, classes), 1 / classes)
    return np.where(total > 0, votes / np.where(total > 0, total, 1), uniform)
