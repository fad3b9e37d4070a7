"""How good the queue is, where the truth is known (benchmarks and the demo only)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from radray.errors import ConfigError
from radray.site_table import read_site_table


def load_truth(url: str) -> dict[str, dict[str, Any]]:
    """True facts by `uri`.

    Args:
        url: A .parquet or .csv table with `region` and `uri`, or `path` below the table's own folder.

    Raises:
        ConfigError: A column is missing.
    """
    table = read_site_table(url, "--truth")
    if "region" not in table.column_names:
        raise ConfigError(f"--truth {url}: the column region is missing; its columns are {table.column_names}")
    return {row["uri"]: row for row in table.to_pylist()}


def measure_queue(scores: npt.NDArray[np.float64], is_wrong: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Planted wrong labels, and how many of those n stand in the first n and 2n of the queue.

    Args:
        scores: Float64 [m] of all labelled images with known truth.
        is_wrong: Bool [m].
    """
    order = np.argsort(-scores, kind="stable")
    planted = int(is_wrong.sum())
    return {
        "planted": planted,
        "found_in_first_n": int(is_wrong[order[:planted]].sum()),
        "found_in_first_2n": int(is_wrong[order[: 2 * planted]].sum()),
    }


def out_of_domain_auroc(scores: npt.NDArray[np.float64], is_outside: npt.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve of an out-of-domain score; None where one of the two kinds is missing."""
    is_outside, scores = is_outside[np.isfinite(scores)], scores[np.isfinite(scores)]
    if is_outside.all() or not is_outside.any():
        return None
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(is_outside, scores)), 4)
