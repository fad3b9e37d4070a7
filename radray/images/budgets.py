"""Label budgets: which training images may keep their label when only few labels are assumed to exist."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radray.errors import ConfigError


def parse_budget(budget: str) -> tuple[str, float]:
    """Split a budget into its kind and size.

    Args:
        budget: `all`, a number of images a region (`5`), or a share of each region's images (`1%`).

    Returns:
        (`all`, 1.0), (`count`, n ≥ 1) or (`share`, 0 < share ≤ 1).

    Raises:
        ConfigError: Anything else.
    """
    if budget == "all":
        return "all", 1.0
    try:
        value = float(budget.removesuffix("%"))
    except ValueError:
        value = 0.0
    if budget.endswith("%") and 0 < value <= 100:
        return "share", value / 100
    if not budget.endswith("%") and value >= 1 and value == int(value):
        return "count", value
    raise ConfigError(f"label budget {budget!r}: set all, images a region such as 5, or a share such as 1%")


def labelled_subset(labels: NDArray[np.str_], budget: str, seed: int) -> NDArray[np.int64]:
    """Indices of the images whose label may be used, sorted.

    Stratified: each region gives its share, at least one image. Nested: with the same seed a smaller budget is a
    part of every larger one.

    Args:
        labels: Region of each image; empty where there is none (never chosen).
        budget: See `parse_budget`.
        seed: Draws the order within each region.
    """
    kind, size = parse_budget(budget)
    chosen = []
    for region in sorted({str(label) for label in labels if label}):
        members = np.flatnonzero(labels == region)
        order = np.random.default_rng([seed, *region.encode()]).permutation(members)
        count = {"all": len(members), "count": int(size), "share": int(np.ceil(size * len(members)))}[kind]
        chosen.append(order[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
