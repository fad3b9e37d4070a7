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


SYSTEMATIC_IMAGES, SYSTEMATIC_SHARE = 5, 0.3
"""A source is named where it tags so many images, and this share of all that look like the region, as another."""


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


def name_sources(table: pa.Table, most: int = 10) -> list[str]:
    """What an administrator can mend, most images first: a place, what it tags wrongly, and how often.

    Args:
        table: Rows of `SCHEMA`.
        most: Lines at most.

    Example:
        "station XR-3: 412 of 430 that look like wrist say hand"
    """
    rows = [
        row
        for row in table.to_pylist()
        if row["images"] >= SYSTEMATIC_IMAGES
        and row["share"] >= SYSTEMATIC_SHARE
        and row["value"] not in ("(none)", row["header_label"])  # a protocol named like the label says nothing new
    ]
    rows.sort(key=lambda row: (-row["images"], -row["share"], FACTS.index(row["fact"]), row["value"]))
    lines: dict[tuple[str, str, int, int], str] = {}
    for row in rows:
        # The same images come once for their station, scanner and year: the first of those is told.
        key = (row["model_region"], row["header_label"], row["images"], row["of"])
        text = f"{row['images']:,} of {row['of']:,} that look like {row['model_region']} say {row['header_label']}"
        lines.setdefault(key, f"{row['fact'].replace('_', ' ')} {row['value']}: {text}")
    return list(lines.values())[:most]
