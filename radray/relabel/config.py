"""Configuration of the relabel stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from radray import storage
from radray.errors import ConfigError, check_ranges
from radray.regions import load_regions
from radray.score.versions import latest_predictions


class Kind(StrEnum):
    """What is written about an object."""

    COPY = "copy"
    """A corrected copy under a new SOP Instance UID."""
    COPY_SAME_UID = "copy_same_uid"
    """A corrected copy under the old SOP Instance UID."""
    REJECTION = "rejection"
    """A note that the copy replaces the object."""
    SR = "sr"
    """A structured report with the region."""


@dataclass(frozen=True, kw_only=True)
class RelabelConfig:
    """Final labels by policy (reviewer, then a confident model, then the header): predictions and verdicts → labels."""

    predictions: str
    """URL of the predictions, as written by jobs/score.py."""
    output: str
    """URL of the folder that gets the labels table."""
    verdicts: str | None = None
    """URL of verdicts.csv from the review page; without it only model and header speak."""
    min_confidence: float = 0.95
    """A model's region replaces a missing or contradicted header only with at least this confidence (0.5 to 1)."""
    regions: str | None = None
    """Class list of the bundle where it is a JSON file of the site's own: names BodyPartExamined in copies."""
    index: str | None = None
    """URL of the index; where predictions call objects by keyed hashes, copies and reports need it."""
    copies: str | None = None
    """URL of the folder that gets a corrected DICOM copy of every object whose region changes; holds identities."""
    same_uid: bool = False
    """Copies keep the SOP Instance UID: to replace files of an export, never for a PACS."""
    sr: str | None = None
    """URL of the folder that gets a DICOM structured report (TID 1500) of every change; holds identities."""
    sr_of: Literal["changed", "decided"] = "changed"
    """Reports of changed regions alone, or of everything that reviewer or model decided."""
    stow: str | None = None
    """DICOMweb URL of a PACS (the part before /studies) that copies and reports are sent to; with --undo, rejection
    notes for those that it stored."""
    reject: bool = False
    """With --copies, write (and send by --stow) a rejection note for each object that a copy replaces."""
    stow_mib: float = 64.0
    """Most MiB a request to the PACS holds; a larger object goes alone (0.1 to 1024)."""
    workers: int = 8
    """Objects fetched, and held in memory, at a time (1 to 64)."""
    dry_run: bool = False
    """Count what would change, be written and be sent; do none of it."""
    undo: bool = False
    """Put every label in --output back to what it was before; delete copies, reports and notes written with it."""

    def __post_init__(self) -> None:
        """Check the ranges and what goes together.

        Raises:
            ConfigError: A value lies outside its range, or options contradict each other.
        """
        check_ranges(self, {"min_confidence": (0.5, 1), "stow_mib": (0.1, 1024), "workers": (1, 64)})
        if self.same_uid and self.stow is not None:
            raise ConfigError("--stow never sends copies under their old UID; leave out --same-uid")
        if self.same_uid and self.reject:
            raise ConfigError("--reject would reject the copies of --same-uid too; leave out one of the two")
        if self.same_uid and self.copies is None:
            raise ConfigError("--same-uid is about copies; set --copies")
        if self.reject and self.copies is None:
            raise ConfigError("--reject is about objects that copies replace; set --copies")
        if self.stow is not None and not self.kinds and not self.undo:
            raise ConfigError("--stow sends what --copies and --sr write; set one of them")
        if self.stow is not None:
            address = urlsplit(self.stow)
            if address.scheme not in ("http", "https") or not address.hostname:
                raise ConfigError(f"--stow {self.stow}: set an http:// or https:// URL, such as https://pacs/dicom-web")
            if address.username or address.password:
                raise ConfigError("--stow holds a user's name; set RADRAY_STOW_USER and RADRAY_STOW_PASSWORD instead")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is to be written."""
        copy = Kind.COPY_SAME_UID if self.same_uid else Kind.COPY
        asked = {copy: self.copies is not None, Kind.REJECTION: self.reject, Kind.SR: self.sr is not None}
        return tuple(kind for kind, wanted in asked.items() if wanted)

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: An input is missing, an output cannot be written or is no place of its own, copies would lie in
                the archive, the PACS does not answer, or there is nothing to undo.
        """
        storage.check_input(self.predictions, "--predictions")
        latest_predictions(self.predictions)
        if self.verdicts is not None:
            storage.check_input(self.verdicts, "--verdicts")
        if self.regions is not None:
            load_regions(self.regions)
        if self.index is not None:
            storage.check_input(self.index, "--index")
            if not storage.list_files(self.index, ".parquet"):
                raise ConfigError(f"--index {self.index}: no Parquet files are there; run jobs/index.py first")
        from radray.relabel.archive_guard import check_outside_archive  # which names this module

        check_outside_archive(self)
        storage.check_output(self.output, "--output")
        folders = {"--copies": self.copies, "--sr": self.sr}
        given = {option: storage.check_output(url, option) for option, url in folders.items() if url is not None}
        if len(set(given.values())) < len(given):
            raise ConfigError("--copies and --sr name the same folder; set two")
        if self.undo and not storage.list_files(self.output, ".parquet"):
            raise ConfigError(f"--undo: no labels are in --output {self.output}; give the folder that was relabelled")
        if self.stow is not None:
            from radray.relabel.stow import check_pacs

            check_pacs(self.stow)
