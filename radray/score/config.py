"""Configuration of the score stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from radray import storage
from radray.errors import ConfigError, check_ranges
from radray.index.config import IndexConfig
from radray.score.hours import Hours
from radray.score.selection import Selection
from radray.score.where import parse_where
from radray.tables import INDEX_SCHEMA, MANIFEST_SCHEMA


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Give every object of an archive its region, or a reason why it has none: archive and bundle → predictions."""

    archive: str | None = None
    """URL of the archive: a folder or s3://bucket/prefix; it is only read. Give this or --index."""
    index: str | None = None
    """URL of an index as written by jobs/index.py, whose listing, facts and labels are used instead."""
    bundle: str
    """URL of the bundle folder, as written by jobs/probe.py."""
    output: str
    """URL of the folder that gets the predictions, below version=<key>/; a new bundle goes beside the old."""
    labels: str = "header"
    """With --archive, what predictions are compared with: header, path:REGEX or table:URL (see jobs/index.py)."""
    patient_key: str = "env:RADRAY_PATIENT_KEY"
    """With --archive, the secret that turns patient IDs into pseudonyms: env:NAME, file:PATH or none."""
    key: Literal["uri", "hash"] = "uri"
    """With --archive, what predictions call an object: its URL, or a keyed hash of it (see jobs/index.py)."""
    where: str | None = None
    """Only objects whose facts in the index meet a condition: "modality in ('DX', 'CR') and study_year >= 2015";
    with --archive only uri, size, etag and modified are known."""
    sample: float = 1.0
    """Only this share of the objects (above 0 to 1): the same ones each time, all of them in any larger share too."""
    limit: int | None = None
    """Only so many objects, the first of those chosen; rows that are there already stay and are not made again."""
    retry_failed: bool = False
    """Score objects again whose rows say that they failed, for example fetch_failed, before anything else."""
    dry_run: bool = False
    """Only say what would be fetched: objects, requests, bytes, time; write nothing."""
    max_requests_per_s: float | None = None
    """Most requests a second to the archive, of all workers together; a page of a listing counts too."""
    max_bytes_per_s: float | None = None
    """Most bytes a second read from the archive, of all workers together."""
    hours: str | None = None
    """Read only in these hours of the day, such as 20-06; between blocks the run waits for them."""
    time_zone: str | None = None
    """Time zone of --hours, such as Europe/Berlin; none for the machine's own."""
    watch: bool = False
    """Go on: look again and again for what is new, changed or gone, until SIGINT or SIGTERM (exit code 0)."""
    watch_every_s: float = 60.0
    """Seconds between two looks (0.1 to 86400)."""
    csv: str | None = None
    """URL of a file that gets all rows of this version as CSV too, for spreadsheets."""
    batch: int = 32
    """Images predicted together (1 to 1024)."""
    rows_per_block: int = 64
    """Objects committed together; what a killed run does again at most, for each worker (1 to 4096)."""
    max_workers: int | None = None
    """Most workers; none for half the cluster's logical CPUs."""
    gpus_per_worker: float | None = None
    """Share of a GPU for each worker that predicts, beside those that decode (0 to 1; 0 for no GPU); none for a whole
    one where the cluster has GPUs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the networks: bfloat16 computes twice as fast where processors have it, with probabilities some hundredths
    off; its rows are a version of their own."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value lies outside its range.
        """
        if (self.archive is None) == (self.index is None):
            raise ConfigError("give either --archive or --index, one of the two")
        check_ranges(
            self,
            {
                "batch": (1, 1024),
                "rows_per_block": (1, 4096),
                "watch_every_s": (0.1, 86_400),
            },
        )
        if self.gpus_per_worker is not None:
            check_ranges(self, {"gpus_per_worker": (0, 1)})
        if not 0 < self.sample <= 1:
            raise ConfigError(f"--sample is {self.sample}; set a share above 0 and at most 1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is {self.limit}; set it to 1 or more")
        for option, rate in (("requests", self.max_requests_per_s), ("bytes", self.max_bytes_per_s)):
            if rate is not None and not 0 < rate < float("inf"):
                raise ConfigError(f"--max-{option}-per-s is {rate}; set it above 0, or leave it out")
        if self.time_zone is not None and self.hours is None:
            raise ConfigError(f"--time-zone {self.time_zone} is of --hours; set --hours too")
        self.open_hours()
        if self.watch and (self.dry_run or self.limit is not None):
            other = "--dry-run" if self.dry_run else "--limit"
            raise ConfigError(f"--watch and {other} cannot go together; leave one out")
        if self.max_workers is not None and self.max_workers < 1:
            raise ConfigError(f"--max-workers is {self.max_workers}; set it to 1 or more")

    @property
    def writes_nothing(self) -> bool:
        """Whether not even a summary is written."""
        return self.dry_run

    def open_hours(self) -> Hours | None:
        """When the archive may be read; None for always."""
        return None if self.hours is None else Hours.parse(self.hours, self.time_zone)

    def selection(self) -> Selection:
        """Which objects to score."""
        condition = None
        if self.where is not None and self.index is not None:
            condition = parse_where(self.where, INDEX_SCHEMA)
        elif self.where is not None:
            schema = pa.schema([MANIFEST_SCHEMA.field(name) for name in ("uri", "size", "etag", "modified")])
            condition = parse_where(
                self.where, schema, missing="not known from a listing; for facts of headers give --index"
            )
        return Selection(where=condition, sample=self.sample, limit=self.limit)

    def header_rules(self) -> IndexConfig:
        """The index stage's rules of reading headers, with this configuration's labels and key."""
        return IndexConfig(
            archive=self.archive or "",
            output=self.output,
            labels=self.labels,
            patient_key=self.patient_key,
            key=self.key,
        )

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: Something named is not there, or the output cannot be written.
        """
        storage.check_input(storage.join(self.bundle, "bundle.json"), "--bundle")
        if self.archive is not None:
            self.header_rules().secret()
            storage.check_input(self.archive, "--archive")
            if storage.normalise_url(self.output).startswith(storage.normalise_url(self.archive) + "/"):
                raise ConfigError(f"--output {self.output} lies inside --archive, which is never written to")
        if self.index is not None:
            storage.check_input(self.index, "--index")
            if not storage.list_files(self.index, ".parquet"):
                raise ConfigError(f"--index {self.index}: no Parquet files are there; run jobs/index.py first")
        self.selection()
        if self.dry_run:
            return
        storage.check_output(self.output, "--output")
        if self.csv is not None:
            self._check_csv(self.csv)

    def _check_csv(self, url: str) -> None:
        place = storage.normalise_url(url)
        if not place.endswith(".csv"):
            raise ConfigError(f"--csv {url}: give the URL of a file that ends in .csv")
        if self.archive is not None and place.startswith(storage.normalise_url(self.archive) + "/"):
            raise ConfigError(f"--csv {url} lies inside --archive, which is never written to")
        if place.startswith(storage.join(storage.normalise_url(self.output), "version=")):
            raise ConfigError(f"--csv {url} lies among the Parquet files; choose a place beside them")
        storage.check_output(storage.parent(place), "--csv")
