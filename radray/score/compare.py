"""Two sets of predictions side by side, object by object: what changed.

Neither set is ordered, and neither need fit into memory: both are dealt out into parts by a checksum of `uri`, on this
machine's disk, and each part of the one is joined with the same part of the other.
"""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from radray import storage
from radray.score.compare_config import CompareConfig
from radray.score.versions import latest_predictions

_COLUMNS = ["uri", "status", "reason", "region", "confidence", "abstained", "header_label", "agrees", "bundle"]
_JOINED = [name for name in _COLUMNS if name not in ("uri", "bundle")]
_ROWS_PER_PART = 100_000
_MOST_PARTS = 256
_MOST_PAIRS = 20
"""Changed pairs of regions in the summary; `changes.parquet` holds every one."""

CHANGES_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("change", pa.string()),
        *(
            (
                f"{name}_{side}",
                {"confidence": pa.float32(), "abstained": pa.bool_(), "agrees": pa.bool_()}.get(name, pa.string()),
            )
            for name in _JOINED
            for side in ("before", "after")
        ),
    ]
)
"""`changes.parquet`: one row an object whose status, reason, region or abstention changed, or that one side lacks.

`change` is the first of these that holds: only_before, only_after, status, region, abstained, reason.
"""


def run_compare(config: CompareConfig) -> dict[str, Any]:
    """Compare, write `changes.parquet`, print a table, return the summary."""
    folders = {"before": latest_predictions(config.before), "after": latest_predictions(config.after)}
    rows = {side: sum(_rows(url) for url in storage.list_files(url, ".parquet")) for side, url in folders.items()}
    parts = min(_MOST_PARTS, 1 + max(rows.values()) // _ROWS_PER_PART)
    tally, changes = _Tally(), storage.join(config.output, "changes.parquet")
    with tempfile.TemporaryDirectory(prefix="radray-compare-") as scratch:
        bundles = {side: _deal_out(url, Path(scratch), side, parts) for side, url in folders.items()}
        with (
            storage.open_output(changes) as sink,
            parquet.ParquetWriter(sink, CHANGES_SCHEMA, compression="zstd") as writer,
        ):
            for part in range(parts):
                joined = _join(Path(scratch), part)
                tally.add(joined)
                writer.write_table(_changed(joined))
    sides = {side: {"folder": folders[side], "bundle": bundles[side], "rows": rows[side]} for side in folders}
    summary = {
        "rows_in": sum(rows.values()),
        **tally.summary(),
        **sides,
        "changes": changes,
    }
    print("\n".join(describe(summary)))
    return summary


def _rows(url: str) -> int:
    place = storage.locate(url)
    with place.arrow.open_input_file(place.path) as file:
        return int(parquet.ParquetFile(file).metadata.num_rows)


def _batches(folder: str) -> Iterator[pa.RecordBatch]:
    for url in storage.list_files(folder, ".parquet"):
        place = storage.locate(url)
        with place.arrow.open_input_file(place.path) as file:
            yield from parquet.ParquetFile(file).iter_batches(10_000, columns=_COLUMNS)


def _deal_out(folder: str, scratch: Path, side: str, parts: int) -> list[str]:
    """Write the rows of a folder to one file a part; return the digests of the bundles that made them."""
    bundles: set[str] = set()
    schema = CHANGES_SCHEMA.field
    kept = pa.schema([schema("uri"), *(pa.field(name, schema(f"{name}_{side}").type) for name in _JOINED)])
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(pa.ipc.new_file(str(scratch / f"{side}-{part:03d}.arrow"), kept))
            for part in range(parts)
        ]
        for batch in _batches(folder):
            bundles |= set(batch.column("bundle").to_pylist())
            rows = pa.Table.from_batches([batch]).select(kept.names).cast(kept)
            sums = np.array([zlib.crc32(uri.encode("utf-8", "surrogateescape")) for uri in rows["uri"].to_pylist()])
            for part in np.unique(sums % parts):
                sinks[part].write_table(rows.filter(pa.array(sums % parts == part)))
    return sorted(bundles)


def _join(scratch: Path, part: int) -> pa.Table:
    """Rows of both sides by uri, with `is_before` and `is_after` where a side has the object."""
    sides = []
    for side in ("before", "after"):
        with pa.memory_map(str(scratch / f"{side}-{part:03d}.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
        names = ["uri", *(f"{name}_{side}" for name in _JOINED)]
        sides.append(table.rename_columns(names).append_column(f"is_{side}", pa.array(np.ones(len(table), bool))))
    joined = sides[0].join(sides[1], keys="uri", join_type="full outer")
    for name in ("is_before", "is_after"):
        joined = joined.set_column(joined.schema.get_field_index(name), name, pc.fill_null(joined[name], False))
    return joined.sort_by("uri")


def _differs(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Where a column's two sides differ; null equals null."""
    before, after = table[f"{name}_before"], table[f"{name}_after"]
    same = pc.or_(pc.fill_null(pc.equal(before, after), False), pc.and_(pc.is_null(before), pc.is_null(after)))
    return pc.invert(same)


def _changed(joined: pa.Table) -> pa.Table:
    names = ("status", "region", "abstained", "reason")
    conditions = pc.make_struct(
        *(pc.invert(joined[name]) for name in ("is_after", "is_before")),
        *(_differs(joined, name) for name in names),
        field_names=["only_before", "only_after", *names],
    )
    change = pc.case_when(conditions, *(pa.scalar(name) for name in ("only_before", "only_after", *names)))
    found = joined.append_column("change", change)
    return found.filter(pc.is_valid(found["change"])).select(CHANGES_SCHEMA.names).cast(CHANGES_SCHEMA)


class _Tally:
    """Counts over all parts."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._statuses: Counter[tuple[str, str]] = Counter()
        self._confidence = {"before": 0.0, "after": 0.0, "difference": 0.0}

    def add(self, joined: pa.Table) -> None:
        counts = self._counts
        both = joined.filter(pc.and_(joined["is_before"], joined["is_after"]))
        counts["rows"] += joined.num_rows
        counts["both"] += both.num_rows
        counts["only_before"] += pc.sum(pc.invert(joined["is_after"])).as_py() or 0
        counts["only_after"] += pc.sum(pc.invert(joined["is_before"])).as_py() or 0
        self._statuses.update(_pairs(both.filter(_differs(both, "status")), "status"))
        named = both.filter(pc.and_(pc.is_valid(both["region_before"]), pc.is_valid(both["region_after"])))
        moved = named.filter(_differs(named, "region"))
        counts["compared"] += named.num_rows
        counts["changed"] += moved.num_rows
        self._pairs.update(_pairs(moved, "region"))
        before, after = (pc.fill_null(named[f"abstained_{side}"], False) for side in ("before", "after"))
        counts["abstained_before"] += pc.sum(before).as_py() or 0
        counts["abstained_after"] += pc.sum(after).as_py() or 0
        counts["newly"] += pc.sum(pc.and_(after, pc.invert(before))).as_py() or 0
        counts["no_longer"] += pc.sum(pc.and_(before, pc.invert(after))).as_py() or 0
        sides = [named[f"confidence_{side}"].to_numpy().astype(float) for side in ("before", "after")]
        for name, values in zip(self._confidence, (*sides, np.abs(sides[0] - sides[1])), strict=True):
            self._confidence[name] += float(values.sum())
        labelled = named.filter(pc.and_(pc.is_valid(named["agrees_before"]), pc.is_valid(named["agrees_after"])))
        earlier, later = labelled["agrees_before"].to_numpy(), labelled["agrees_after"].to_numpy()
        for name, met in {
            "header_both": earlier & later,
            "header_before": earlier & ~later,
            "header_after": later & ~earlier,
            "header_neither": ~earlier & ~later,
        }.items():
            counts[name] += int(met.sum())

    def summary(self) -> dict[str, Any]:
        counts, compared = self._counts, self._counts["compared"]
        mean = {name: round(total / compared, 4) if compared else None for name, total in self._confidence.items()}
        return {
            "rows_out": counts["rows"] + counts["both"],
            "objects": counts["rows"],
            "in_both": counts["both"],
            "only_before": counts["only_before"],
            "only_after": counts["only_after"],
            "compared": compared,
            "agreement": round(1 - counts["changed"] / compared, 6) if compared else None,
            "region_changed": counts["changed"],
            "changed_pairs": [
                {"before": pair[0], "after": pair[1], "objects": count}
                for pair, count in sorted(self._pairs.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PAIRS]
            ],
            "status_changed": {f"{pair[0]} to {pair[1]}": count for pair, count in sorted(self._statuses.items())},
            "abstained": {
                "before": counts["abstained_before"],
                "after": counts["abstained_after"],
                "newly": counts["newly"],
                "no_longer": counts["no_longer"],
            },
            "confidence": {"before": mean["before"], "after": mean["after"], "mean_difference": mean["difference"]},
            "against_header": {
                "both_agree": counts["header_both"],
                "only_before_agrees": counts["header_before"],
                "only_after_agrees": counts["header_after"],
                "neither_agrees": counts["header_neither"],
            },
        }


def _pairs(table: pa.Table, name: str) -> dict[tuple[str, str], int]:
    counted = table.group_by([f"{name}_before", f"{name}_after"]).aggregate([([], "count_all")]).to_pylist()
    return {(row[f"{name}_before"], row[f"{name}_after"]): row["count_all"] for row in counted}


def describe(summary: dict[str, Any]) -> list[str]:
    """Lines of a table for people."""
    share = "" if summary["agreement"] is None else f"{summary['agreement']:.2%} keep their region"
    headers, abstained = summary["against_header"], summary["abstained"]
    pairs = [(f"  {pair['before']} to {pair['after']}", pair["objects"], "") for pair in summary["changed_pairs"]]
    rows = [
        ("objects in both", summary["in_both"], ""),
        ("only before", summary["only_before"], ""),
        ("only after", summary["only_after"], ""),
        *((f"  {change}", count, "") for change, count in summary["status_changed"].items()),
        ("with a region in both", summary["compared"], share),
        ("region changed", summary["region_changed"], ""),
        *pairs,
        ("abstain now", abstained["newly"], f"{abstained['after']:,} in all"),
        ("abstain no longer", abstained["no_longer"], f"{abstained['before']:,} before"),
        ("header: both agree", headers["both_agree"], ""),
        ("header: only before", headers["only_before_agrees"], ""),
        ("header: only after", headers["only_after_agrees"], ""),
        ("header: neither", headers["neither_agrees"], ""),
    ]
    width = max(len(name) for name, _, _ in rows)
    first = f"changes · {summary['before']['folder']} to {summary['after']['folder']}"
    return [first, *(f"{name:<{width}}  {count:>12,}  {note}".rstrip() for name, count, note in rows)]
