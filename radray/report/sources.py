"""What the stages left, read for the report; a stage that was not given, or a table it did not write, is None."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from radray import storage
from radray.errors import Status
from radray.pretrain.journal import read_journal
from radray.pretrain.run import find_run_folders, is_run, read_document
from radray.report.config import STAGES, ReportConfig
from radray.review.checks import LabelChecks
from radray.review.verdicts import Verdict, parse_verdicts
from radray.score.versions import latest_predictions

ENSEMBLE = "ensemble"


@dataclass(frozen=True, kw_only=True)
class RunStory:
    """A run of jobs/pretrain.py, without its weights."""

    document: dict[str, Any]
    """run.json."""
    journal: list[dict[str, float]]
    """metrics.jsonl."""


@dataclass(kw_only=True)
class Sources:
    """Tables of an archive's stages."""

    index: pa.Table | None = None
    """status and reason of every object."""
    images: pa.Table | None = None
    """uri, row_id, label, status, reason, split of every radiograph."""
    runs: dict[str, RunStory] = field(default_factory=dict)
    """Method → its run."""
    accuracy: pa.Table | None = None
    """accuracy.csv of the probe."""
    per_region: pa.Table | None = None
    """per_region.csv of the probe."""
    confusion: pa.Table | None = None
    """confusion.csv of the probe."""
    comparison: pa.Table | None = None
    """comparison.csv of the probe."""
    subgroups: pa.Table | None = None
    """subgroups.csv of the probe."""
    test: pa.Table | None = None
    """test_predictions.parquet of the probe, the ensemble's rows."""
    bundle: dict[str, Any] | None = None
    """bundle.json."""
    verdicts: list[Verdict] | None = None
    """Lines of verdicts.csv."""
    review: dict[str, Any] | None = None
    """Accuracy after review, where the audit drew controls."""
    predictions: pa.Table | None = None
    """status, region, abstained of every object."""
    findings: pa.Table | None = None
    """The findings."""
    disagreement: pa.Table | None = None
    """disagreement.csv of the audit."""
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage → its summary.json."""
    left_out: list[str] = field(default_factory=list)
    """Lines that say which stages and tables are missing."""

    @property
    def against(self) -> str:
        """What figures are measured against: `truth` where the probe knew it, else `label`."""
        known = set() if self.accuracy is None else set(self.accuracy["against"].to_pylist())
        return "truth" if "truth" in known else "label"

    @property
    def titles(self) -> dict[str, str]:
        """Region name → title, in class order."""
        if self.bundle is None:
            return {}
        return {region["name"]: region["title"] for region in self.bundle["regions"]["regions"]}


def load_sources(config: ReportConfig) -> Sources:
    """Read all that is there."""
    sources = Sources()
    for stage in STAGES:
        url = getattr(config, stage)
        if url is None:
            sources.left_out.append(f"no --{stage} was given: its sections are left out")
            continue
        place = storage.join(url, "summary.json")
        if storage.exists(place):
            sources.summaries[stage] = storage.read_json(place)
    if config.index:
        sources.index = _table(sources, "index", config.index, ["status", "reason"])
    if config.images:
        columns = ["uri", "row_id", "label", "status", "reason", "split"]
        sources.images = _table(sources, "images", config.images, columns)
    for place in find_run_folders(config.runs):
        if is_run(place):
            document = read_document(place)
            sources.runs[document["method"]] = RunStory(document=document, journal=read_journal(place))
    if not sources.runs:
        sources.left_out.append("no finished run was given with --runs: the training is left out")
    if config.probe:
        _load_probe(sources, config.probe)
    if config.verdicts:
        sources.verdicts = parse_verdicts(storage.read_bytes(config.verdicts), config.verdicts)
    if config.predictions:
        columns = ["status", "reason", "region", "abstained", "header_label", "bundle"]
        sources.predictions = _table(sources, "predictions", latest_predictions(config.predictions), columns)
    if config.findings:
        sources.findings = _table(sources, "findings", config.findings, None)
        sources.disagreement = _csv(sources, config.findings, "disagreement.csv")
        checks = LabelChecks.load(config.findings) if sources.verdicts else None
        sources.review = None if checks is None else checks.accuracy(sources.verdicts or [])
    return sources


def _load_probe(sources: Sources, url: str) -> None:
    for name in ("accuracy", "per_region", "confusion", "comparison", "subgroups"):
        setattr(sources, name, _csv(sources, url, f"{name}.csv"))
    place = storage.join(url, "test_predictions.parquet")
    if storage.exists(place):
        sources.test = storage.read_table(place, filter=pc.field("method") == ENSEMBLE)
    place = storage.join(url, "bundle", "bundle.json")
    if storage.exists(place):
        sources.bundle = storage.read_json(place)


def _table(sources: Sources, stage: str, url: str, columns: list[str] | None) -> pa.Table | None:
    if not storage.list_files(url, ".parquet"):
        sources.left_out.append(f"--{stage} holds no rows: its sections are left out")
        return None
    return storage.read_table(url, columns=columns)


def _csv(sources: Sources, url: str, name: str) -> pa.Table | None:
    place = storage.join(url, name)
    if not storage.exists(place):
        sources.left_out.append(f"{name} is missing: its figure is left out")
        return None
    # Numbers that read like text (a budget of 5 beside one of 1%) and stations called 007 stay text.
    texts = dict.fromkeys(("method", "budget", "against", "value", "region", "label", "predicted", "fact"), pa.string())
    if name == "per_region.csv":
        texts.pop("predicted")
    options = arrow_csv.ConvertOptions(column_types=texts, strings_can_be_null=True)
    return arrow_csv.read_csv(io.BytesIO(storage.read_bytes(place)), convert_options=options)


def usable(images: pa.Table) -> pa.Table:
    """Rows of an images table that have an image."""
    return images.filter(pc.equal(images["status"], Status.OK.value))
