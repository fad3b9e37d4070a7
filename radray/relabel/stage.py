"""The relabel stage: one labels file for each predictions file; the same input gives the same files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.errors import ConfigError
from radray.regions import SHIPPED, load_regions
from radray.relabel.archive_guard import check_outside_archive
from radray.relabel.config import RelabelConfig
from radray.relabel.corrections import Chunk, Part, decided_objects, known_terms, region_terms, whole_objects
from radray.relabel.policy import Decision, Settled, Source, decide_label, settle_verdicts
from radray.relabel.sending import withdraw_all
from radray.relabel.write_stage import count_left, run_corrections
from radray.relabel.written import parts_of, remove_all
from radray.review.verdicts import parse_verdicts
from radray.score.versions import LATEST, latest_predictions

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

_ROWS_PER_PART = 1024
"""Adjacent label rows whose corrections are counted together: one file of the table of what was written."""
_HELD = ("disputed", "unsure", "against_model")
"""Images held, by what keeps them from being settled; and those of them that the model would have changed."""
_COLUMNS = ["uri", "row_id", "region", "code", "confidence", "abstained", "header_label", "bundle"]


def run_relabel(config: RelabelConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: Copies or reports would lie in the archive, the verdicts file cannot be read or names a region that
            has no code anywhere, or something is to be written about a region that DICOM has no name for.
    """
    if config.undo:
        return _undo(config)
    check_outside_archive(config)
    settled = settle_verdicts(
        [] if config.verdicts is None else parse_verdicts(storage.read_bytes(config.verdicts), config.verdicts)
    )
    verdicts = settled.verdicts
    predicted = latest_predictions(config.predictions)
    codes = _codes(predicted, config.regions)
    if unknown := sorted({each.region for each in verdicts.values() if each.region and each.region not in codes}):
        raise ConfigError(f"--verdicts {config.verdicts}: region {unknown[0]!r} is in no class list; correct that line")
    labels = _Labels(config=config, predicted=predicted, codes=codes, settled=settled)
    if config.kinds:
        corrected = run_corrections(config, labels.parts(), region_terms(codes, config.regions))
    elif parts_of(config.output):
        corrected = {"left_as_they_are": count_left(config, labels.parts(), known_terms(codes, config.regions))}
    else:
        corrected = {}
        labels.write()
    if not config.dry_run:
        _remove_stale(config.output, labels.written)
    counts = labels.counts
    return {
        "rows_in": labels.rows,
        "rows_out": labels.rows,
        "dry_run": config.dry_run,
        "by_change": dict(counts.most_common()),
        "changed": sum(count for kind, count in counts.items() if "→" in kind),
        "verdicts_used": len(labels.used),
        "verdicts_of_other_objects": len(verdicts) - len(labels.used),
        "reviewers_disagree": len(settled.disputed),
        "held": {what: labels.held[what] for what in _HELD},
        **corrected,
    }


@dataclass(kw_only=True)
class _Labels:
    """The labels of one run, written file by file as they are asked for."""

    config: RelabelConfig
    predicted: str
    codes: dict[str, str]
    settled: Settled
    counts: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    """By `_HELD`."""
    rows: int = 0
    used: set[str] = field(default_factory=set)
    """Objects that a verdict was about."""
    written: set[str] = field(default_factory=set)
    """Names of the labels files."""

    def parts(self) -> Iterator[Part]:
        """Write the labels files one by one and hand out their decided objects, a part at a time."""
        decided = _decided_at(self.config.predictions, storage.list_files(self.predicted, ".parquet"))
        for chunk in whole_objects(self._chunks()):
            yield Part(chunk.name, decided_objects(chunk.rows, self.settled.verdicts, decided), chunk.share)

    def write(self) -> None:
        """Write the labels files, nothing more."""
        for _ in self._chunks():
            pass

    def _chunks(self) -> Iterator[Chunk]:
        files = storage.list_files(self.predicted, ".parquet")
        for number, file in enumerate(files):
            predictions = storage.read_table(file, columns=_COLUMNS).to_pylist()
            rows = [self._label(row) for row in predictions]
            self.rows += len(rows)
            self.used.update(row["uri"] for row in rows if row["uri"] in self.settled.verdicts)
            self.counts.update(_kind(row) for row in rows)
            name = file.rsplit("/", 1)[-1]
            self.written.add(name)
            if not self.config.dry_run:
                _write_labels(storage.join(self.config.output, name), rows)
            for start in range(0, len(rows), _ROWS_PER_PART):
                some = rows[start : start + _ROWS_PER_PART]
                share = (number + min(1.0, (start + _ROWS_PER_PART) / len(rows))) / len(files)
                yield Chunk(f"{name.removesuffix('.parquet')}.{start // _ROWS_PER_PART:05d}", some, share)

    def _label(self, row: dict[str, Any]) -> dict[str, Any]:
        held = self.settled.is_held(row["uri"])
        decision = self._decide(row, held=held)
        if held:
            self.held["disputed" if row["uri"] in self.settled.disputed else "unsure"] += 1
            self.held["against_model"] += self._decide(row, held=False).source == Source.MODEL
        by_model = decision.source == Source.MODEL
        return {
            "uri": row["uri"],
            "row_id": row["row_id"],
            "region": decision.region,
            "code": self.codes.get(decision.region or ""),
            "source": decision.source,
            "previous": row["header_label"],
            "confidence": row["confidence"] if by_model else None,
            "bundle": row["bundle"] if by_model else None,
        }

    def _decide(self, row: dict[str, Any], *, held: bool) -> Decision:
        return decide_label(
            header=row["header_label"],
            model=row["region"],
            confidence=row["confidence"] or 0.0,
            abstained=bool(row["abstained"]),
            verdict=self.settled.verdicts.get(row["uri"]),
            held=held,
            min_confidence=self.config.min_confidence,
        )


def _decided_at(predictions: str, files: list[str]) -> datetime:
    """When the model decided: when scoring ended. One time for all, so that exact copies get the same corrections."""
    mark = storage.join(predictions, LATEST)
    return storage.modified(mark if storage.exists(mark) else files[0])


def _write_labels(url: str, rows: list[dict[str, Any]]) -> None:
    """Write one labels file unless it is there as it should be."""
    table = pa.Table.from_pylist(rows, schema=LABELS_SCHEMA)
    if not storage.exists(url) or not storage.read_table(url).equals(table):
        storage.write_table(url, table)


def _kind(row: dict[str, Any]) -> str:
    """What happened to a label, in words: the keys of the summary."""
    if row["region"] == row["previous"]:
        return "no label" if row["region"] is None else f"kept, {row['source']}"
    before = "none" if row["previous"] is None else "header"
    after = "no region" if row["region"] is None else row["source"]
    return f"{before} → {after}"


def _codes(predictions: str, regions: str | None) -> dict[str, str]:
    """Region → SNOMED CT code: the shipped lists', overruled by the site's, then by the predictions' own."""
    lists = (*SHIPPED, *([regions] if regions else []))
    codes = {region.name: region.snomed_code for spec in lists for region in load_regions(spec).regions}
    seen = storage.read_table(predictions, columns=["region", "code"], filter=pc.field("region").is_valid())
    own = seen.group_by(["region", "code"]).aggregate([])
    return codes | dict(zip(own["region"].to_pylist(), own["code"].to_pylist(), strict=True))


def _remove_stale(output: str, kept: set[str]) -> None:
    for file in storage.list_files(output, ".parquet"):
        if file.rsplit("/", 1)[-1] not in kept:
            storage.remove(file)


def _undo(config: RelabelConfig) -> dict[str, Any]:
    codes = _codes(latest_predictions(config.predictions), config.regions)
    withdrawn = withdraw_all(config) if config.stow is not None and not config.dry_run else {}
    removed = remove_all(config.output, dry_run=config.dry_run, withdrawn_from=None if config.dry_run else config.stow)
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
            _write_labels(file, rows)
    counts = {"rows_in": rows_in, "rows_out": rows_in, "dry_run": config.dry_run, "restored": restored}
    return {**counts, "removed": removed, "withdrawn": withdrawn}
