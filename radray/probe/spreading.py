"""Few labels, many images: give every image of the pool the label that its neighbourhood in feature space spreads.

Zhou et al., Learning with Local and Global Consistency, NIPS 2003, by scikit-learn's `LabelSpreading`, on a graph of
cosine similarities between whitened features. A linear head fitted on the spread labels sees the archive's shape
and not only a handful of images.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

NEIGHBOURS = 5
"""Nearest images that an image is joined with."""
ALPHA = 0.98
"""Share of its label that an image takes from its neighbours in one round."""
ROUNDS = 300
"""Most rounds of spreading."""
LARGEST = 50_000
"""Images of the largest pool that labels are spread over: neighbours are sought among all pairs."""


def similarity_graph(features: Tensor) -> sparse.csr_matrix:
    """Join every image with its nearest ones; an edge weighs the cube of their cosine after whitening.

    Args:
        features: Float32[n, d], standardised; n > `NEIGHBOURS`.

    Returns:
        Symmetric [n, n].

    Raises:
        ValueError: Too few images.
    """
    graph = kneighbors_graph(whiten(features).numpy(), NEIGHBOURS, mode="distance", metric="cosine")
    graph.data = np.maximum(1 - graph.data, 1e-6) ** 3
    return graph.maximum(graph.T)


def whiten(features: Tensor) -> Tensor:
    """Rotate to principal axes, shrink the strong ones, length 1: Float32[n, d] to the same."""
    centred = features - features.mean(dim=0)
    _, size, axes = torch.linalg.svd(centred, full_matrices=False)
    return torch.nn.functional.normalize(centred @ (axes.T / (size + size.mean()).clamp_min(1e-12)), dim=1)


def spread_labels(graph: sparse.csr_matrix, labels: Tensor, known: Tensor) -> Tensor:
    """Labels of all images from those of a few.

    Args:
        graph: Of n images, from `similarity_graph`.
        labels: Int64[n]; read at `known` only.
        known: Indices of the images whose label may be used, at least one.

    Returns:
        Int64[n]; the given label at `known`, −1 for images that no label reaches.
    """
    given = np.full(len(labels), -1)
    given[known.numpy()] = labels[known].numpy()
    model = LabelSpreading(kernel=lambda *_: graph, alpha=ALPHA, max_iter=ROUNDS)
    with warnings.catch_warnings():
        # After so many rounds the largest share no longer changes hands; its size still may.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.zeros((len(labels), 1), np.float32), given)
    reached = model.label_distributions_.sum(axis=1) > 0
    spread = torch.from_numpy(np.where(reached, model.transduction_, -1).astype(np.int64))
    spread[known] = labels[known]
    return spread
