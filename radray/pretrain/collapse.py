"""Signs that a network collapses: all images at one point, or along few directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def collapse_indicators(embeddings: Sequence[Tensor]) -> dict[str, float]:
    """Spread of a batch's embeddings on the unit sphere, and how near the views of an image are.

    Args:
        embeddings: For each view Float[batch, dimension], rows in the same order.

    Returns:
        `feature_std`: mean standard deviation of a coordinate × √dimension; 1 spread evenly, 0 collapsed (Chen and He,
        arXiv 2011.10566, section 4.1). `uniformity`: log of the mean of exp(−2 d²) over pairs of images; 0 collapsed,
        lower is more even. With two views `alignment`: mean d² of an image's views; 0 is equal (both Wang and
        Isola, arXiv 2005.10242).
    """
    if not embeddings:
        return {}
    unit = [functional.normalize(rows.float(), dim=1) for rows in embeddings]
    first = unit[0]
    found = {"feature_std": float(first.std(dim=0).mean()) * first.shape[1] ** 0.5}
    if len(first) > 1:
        distances = torch.pdist(first)
        found["uniformity"] = float((-2 * distances.square()).exp().mean().log())
    if len(unit) > 1:
        found["alignment"] = float((first - unit[1]).square().sum(dim=1).mean())
    return found
