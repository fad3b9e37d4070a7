"""The relabel stage: one labels file for each predictions file; the same input gives the same files."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.errors import ConfigError
from radray.regions import SHIPPED, load_regions
from radray.relabel.config import RelabelConfig
from radray.relabel.policy import Decision, Source, decide_label, settle_verdicts
from radray.review.verdicts import Verdict, parse_verdicts
from radray.score.versions import latest_predictions

LABELS_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("row_id", pa.int64()),
        ("region", pa.string()),
        ("code", pa.string()),
        ("source", pa.string()),
        ("previous", pa.string()),
        ("confidence", pa.float32()),
        ("bundle", pa.string()),
    ]
)
"""`labels/`: one row an object. `previous` is the header's region before any relabelling; `source` is reviewer, model,
header or null; `confidence` and `bundle` belong to the model and are null for other sources."""

_COLUMNS = ["uri", "row_id", "region", "code", "confidence", "abstained", "header_label", "bundle"]


def run_relabel(config: RelabelConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: The verdicts file cannot be read, or names a region that has no code anywhere.
    """
    if config.undo:
        return _undo(config)
    verdicts: dict[str, Verdict] = {}
    conflicts = 0
    if config.verdicts is not None:
        verdicts, conflicts = settle_verdicts(parse_verdicts(storage.read_bytes(config.verdicts), config.verdicts))
    predicted = latest_predictions(config.predictions)
    codes = _codes(predicted)
    if unknown := sorted({each.region for each in verdicts.values() if each.region and each.region not in codes}):
        raise ConfigError(f"--verdicts {config.verdicts}: region {unknown[0]!r} is in no class list; correct that line")
    counts: Counter[str] = Counter()
    rows_in = rows_out = 0
    used: set[str] = set()
    kept = set()
    for file in storage.list_files(predicted, ".parquet"):
        predictions = storage.read_table(file, columns=_COLUMNS).to_pylist()
        rows = [_label(row, verdicts.get(row["uri"]), codes, config.min_confidence) for row in predictions]
        rows_in, rows_out = rows_in + len(predictions), rows_out + len(rows)
        used.update(row["uri"] for row in rows if row["uri"] in verdicts)
        counts.update(_kind(row) for row in rows)
        if not config.dry_run:
            name = file.rsplit("/", 1)[-1]
            kept.add(name)
            storage.write_table(storage.join(config.output, name), pa.Table.from_pylist(rows, schema=LABELS_SCHEMA))
    if not config.dry_run:
        _remove_stale(config.output, kept)
    return {
        "rows_in": rows_in,
        "rows_out": rows_out,
        "dry_run": config.dry_run,
        "by_change": dict(counts.most_common()),
        "changed": sum(count for kind, count in counts.items() if "→" in kind),
        "verdicts_used": len(used),
        "verdicts_of_other_objects": len(verdicts) - len(used),
        "reviewers_disagree": conflicts,
    }


def _label(
    row: dict[str, Any], verdict: Verdict | None, codes: dict[str, str], min_confidence: float
) -> dict[str, Any]:
    decision: Decision = decide_label(
        header=row["header_label"],
        model=row["region"],
        confidence=row["confidence"] or 0.0,
        abstained=bool(row["abstained"]),
        verdict=verdict,
        min_confidence=min_confidence,
    )
    by_model = decision.source == Source.MODEL
    return {
        "uri": row["uri"],
        "row_id": row["row_id"],
        "region": decision.region,
        "code": codes.get(decision.region or ""),
        "source": decision.source,
        "previous": row["header_label"],
        "confidence": row["confidence"] if by_model else None,
        "bundle": row["bundle"] if by_model else None,
    }


def _kind(row: dict[str, Any]) -> str:
    """What happened to a label, in words: the keys of the summary."""
    if row["region"] == row["previous"]:
        return "no label" if row["region"] is None else f"kept, {row['source']}"
    before = "none" if row["previous"] is None else "header"
    after = "no region" if row["region"] is None else row["source"]
    return f"{before} → {after}"


def _codes(predictions: str) -> dict[str, str]:
    """Region → SNOMED CT code: the shipped lists', overruled by the predictions' own."""
    codes = {region.name: region.snomed_code for spec in SHIPPED for region in load_regions(spec).regions}
    seen = storage.read_table(predictions, columns=["region", "code"], filter=pc.field("region").is_valid())
    own = seen.group_by(["region", "code"]).aggregate([])
    return codes | dict(zip(own["region"].to_pylist(), own["code"].to_pylist(), strict=True))


def _remove_stale(output: str, kept: set[str]) -> None:
    for file in storage.list_files(output, ".parquet"):
        if file.rsplit("/", 1)[-1] not in kept:
            storage.remove(file)


def _undo(config: RelabelConfig) -> dict[str, Any]:
    codes = _codes(latest_predictions(config.predictions))
    rows_in = restored = 0
    for file in storage.list_files(config.output, ".parquet"):
        rows = storage.read_table(file).to_pylist()
        rows_in += len(rows)
        restored += sum(row["region"] != row["previous"] for row in rows)
        for row in rows:
            header = row["previous"]
            source = Source.HEADER if header is not None else None
            row |= {"region": header, "code": codes.get(header or ""), "source": source}
            row |= {"confidence": None, "bundle": None}
        if not config.dry_run:
            storage.write_table(file, pa.Table.from_pylist(rows, schema=LABELS_SCHEMA))
    return {"rows_in": rows_in, "rows_out": rows_in, "dry_run": config.dry_run, "restored": restored}
