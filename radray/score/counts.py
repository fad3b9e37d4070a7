"""Counts of a version's rows, file by file, and the table that a job prints of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray.score.selection import Ids, read_files

_COLUMNS = ["row_id", "status", "reason", "region", "abstained", "agrees"]
_MOST_REGIONS = 8
"""Regions that the printed table names."""


def summarise(folder: str, *, only: Ids | None = None) -> dict[str, Any]:
    """Counts of one version of predictions.

    Args:
        folder: URL of the version.
        only: Sorted row_ids of the rows that count; None for all.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("status", "reason", "region")}
    rows = abstained = disagreements = 0
    for file in read_files(folder, _COLUMNS):
        table = file if only is None else file.filter(pc.is_in(file["row_id"], pa.array(only)))
        rows += table.num_rows
        for name, counter in counts.items():
            for item in pc.value_counts(pc.drop_null(table[name])).to_pylist():
                counter[item["values"]] += item["counts"]
        abstained += pc.sum(table["abstained"]).as_py() or 0
        disagreements += pc.sum(pc.invert(table["agrees"])).as_py() or 0
    return {
        "rows_out": rows,
        **{f"by_{name}": dict(counter.most_common()) for name, counter in counts.items()},
        "abstained": abstained,
        "disagreements": disagreements,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Lines of a table for people."""
    regions = list(summary["by_region"].items())
    more = f" · {len(regions) - _MOST_REGIONS} more regions" if len(regions) > _MOST_REGIONS else ""
    listed, scored = summary["listed"], summary["scored"]
    left = (
        "" if summary["complete"] or listed is None else f"{listed - summary['rows_out']:,} of them not asked for yet"
    )
    rows = [
        *([] if listed is None else [("objects", listed, left)]),
        ("rows", summary["rows_out"], "" if scored is None else f"{scored:,} made now"),
        *((f"  {status}", count, "") for status, count in summary["by_status"].items()),
        *((f"    {reason}", count, "") for reason, count in summary["by_reason"].items()),
        ("abstained", summary["abstained"], ""),
        ("other than the header", summary["disagreements"], ""),
        *((f"  {region}", count, "") for region, count in regions[:_MOST_REGIONS]),
    ]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{width}}  {count:>12,}  {note}".rstrip() for name, count, note in rows]
    return [f"predictions · {summary['version']} · bundle {summary['bundle'][:12]}", *lines, *([more] if more else [])]
