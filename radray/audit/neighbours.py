"""Nearest neighbours in feature space, in blocks: memory grows with block x n, never with n x n."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch


class Neighbours(NamedTuple):
    """The k nearest images of each image, nearest first."""

    indices: npt.NDArray[np.int64]
    """Int64 [n, k]; −1 where fewer than k images of other groups exist."""
    similarities: npt.NDArray[np.float32]
    """Float32 [n, k]: cosine similarity, −1 to 1; −1 where there is none."""


def unit_rows(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Centre features on their mean and scale each row to length 1: float32 [n, d]."""
    centred = features.astype(np.float32) - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = centred / np.maximum(length, 1e-12)
    return unit


def find_neighbours(
    unit: npt.NDArray[np.float32], groups: npt.NDArray[np.int64], k: int, *, block: int = 1024
) -> Neighbours:
    """Find the k most similar images of other groups (patients) for each image.

    A patient's other images are left out: they share the label's mistake too often to be witnesses.

    Args:
        unit: Float32 [n, d], rows of length 1.
        groups: Int64 [n], the patient of each image.
        k: Neighbours wanted; at most n − 1 are found.
        block: Rows compared with all others at a time.
    """
    count = min(k, max(len(unit) - 1, 0))
    indices = np.full((len(unit), count), -1, np.int64)
    similarities = np.full((len(unit), count), -1, np.float32)
    everything, owner = torch.from_numpy(unit), torch.from_numpy(groups)
    for start in range(0, len(unit) if count else 0, block):
        rows = slice(start, start + block)
        similarity = everything[rows] @ everything.T
        similarity[owner[rows, None] == owner[None, :]] = -torch.inf
        best = similarity.topk(count, dim=1)
        found = torch.isfinite(best.values).numpy()
        indices[rows] = np.where(found, best.indices.numpy(), -1)
        similarities[rows] = np.where(found, best.values.numpy(), -1)
    return Neighbours(indices, similarities)


def neighbour_votes(
    neighbours: Neighbours, labels: npt.NDArray[np.int64], classes: int, *, sharpness: float = 10.0
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
