"""Header against model by where an image comes from, so that an administrator can mend the source.

A line reads: at station X, 430 images look like a wrist to the model; the header of 412 of them says hand.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FACTS = ("station", "manufacturer", "model", "protocol_term", "study_year")
"""Where images come from."""
SCHEMA = pa.schema(
    [
        ("fact", pa.string()),
        ("value", pa.string()),
        ("model_region", pa.string()),
        ("header_label", pa.string()),
        ("images", pa.int64()),
        ("of", pa.int64()),
        ("share", pa.float64()),
    ]
)
"""`images` of the `of` images at this place that the model takes for `model_region` carry `header_label`."""


def tabulate_disagreement(
    facts: pa.Table, labels: npt.NDArray[np.int64], suggested: npt.NDArray[np.int64], names: tuple[str, ...]
) -> pa.Table:
    """Count every pair of header label and model region that differ, by station, manufacturer and so on.

    Args:
        facts: n rows with the columns of `FACTS`.
        labels: Int64 [n], given class, −1 for none.
        suggested: Int64 [n], the model's class out of fold, −1 for none.
        names: Regions in class order.

    Returns:
        Rows of `SCHEMA`, most images first within each fact.
    """
    known = (labels >= 0) & (suggested >= 0)
    rows: list[dict[str, Any]] = []
    for fact in FACTS:
        values = [str(value) if value is not None else "(none)" for value in facts[fact].to_pylist()]
        pairs: Counter[tuple[str, int, int]] = Counter()
        for place in np.flatnonzero(known):
            pairs[values[place], int(suggested[place]), int(labels[place])] += 1
        looks: Counter[tuple[str, int]] = Counter()
        for (value, region, _), count in pairs.items():
            looks[value, region] += count
        rows += [
            {
                "fact": fact,
                "value": value,
                "model_region": names[region],
                "header_label": names[label],
                "images": count,
                "of": looks[value, region],
                "share": round(count / looks[value, region], 4),
            }
            for (value, region, label), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
            if region != label
        ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
