"""Configuration of the index stage. Imports neither Ray nor torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radray.dicom.radiograph import DEFAULT_MODALITIES, DERIVED_TYPES, RadiographRule
from radray.errors import ConfigError
from radray.index.labels import parse_labels
from radray.regions import load_regions


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """List an archive and read the header of every object."""

    archive: str
    """Folder or URL (s3://bucket/prefix) with DICOM objects, loose, gzipped or in zip files; it is only read. Or a
    listing of them: a CSV or Parquet table with uri (and size, etag), or the manifest.json of an S3 inventory."""
    output: str
    """Folder or URL that gets the index. A run that was killed goes on when started again with the same settings; a
    finished one lists the archive again and reads what is new or has changed."""
    labels: str = "header"
    """Where a radiograph's region label comes from: `header`, `path:REGEX` (the group `region`, else the first group,
    else the match, searched in the path below the archive), or `table:URL` (CSV or Parquet with the columns uri or
    path, and label or region)."""
    regions: str = "skeletal14"
    """Class list: skeletal14, skeletal22, or a JSON file of your own."""
    patient_key: str = "env:RADRAY_PATIENT_KEY"
    """Secret that turns patient IDs into pseudonyms, at least 16 bytes: `env:NAME` or `file:PATH`. `none` hashes
    without a secret: whoever can guess an ID can undo it."""
    key: Literal["uri", "hash"] = "uri"
    """What tables beyond the index call an object: its URL, or a keyed hash of it, for where paths hold identities or
    tables leave the house. With hash, UIDs are hashed too, and the index alone leads back to the object."""
    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    """Values of Modality (0008,0060) that are radiographs."""
    secondary_captures: bool = False
    """Take Secondary Capture objects of these modalities even when they are not digitised film."""
    derived_types: tuple[str, ...] = DERIVED_TYPES
    """Values of ImageType (0008,0008) of drawings, annotated copies and computed views, which are set aside."""
    frames: Literal["single", "first"] = "single"
    """Objects of several frames: `single` sets them aside, `first` takes their first frame."""
    header_bytes: int = 65_536
    """Bytes read first of each object; more are read when its header is longer."""

    def __post_init__(self) -> None:
        if not re.match(r"none$|env:.+|file:.+", self.patient_key):
            raise ConfigError(f"--patient-key {self.patient_key!r} is not allowed; use env:NAME, file:PATH or none")
        if self.header_bytes < 1024:
            raise ConfigError(f"--header-bytes is {self.header_bytes}; set it to 1024 or more")
        self.rule()

    def rule(self) -> RadiographRule:
        """What counts as a radiograph."""
        return RadiographRule(
            modalities=tuple(modality.upper() for modality in self.modalities),
            secondary_captures=self.secondary_captures,
            derived_types=tuple(kind.upper() for kind in self.derived_types),
            first_of_many=self.frames == "first",
        )

    def secret(self) -> bytes | None:
        """The site's secret, None for `none`.

        Raises:
            ConfigError: It is not there, or shorter than 16 bytes.
        """
        kind, _, place = self.patient_key.partition(":")
        if kind == "none":
            return None
        if kind == "env":
            found = os.environ.get(place, "").encode()
            if not found:
                raise ConfigError(
                    f"no patient key: set the variable {place} to a long secret of this site "
                    "(for example from `openssl rand -hex 32`), or give --patient-key file:PATH or none"
                )
        else:
            try:
                found = Path(place).expanduser().read_bytes().strip()
            except OSError as error:
                raise ConfigError(
                    f"--patient-key {self.patient_key}: cannot be read ({type(error).__name__})"
                ) from None
        if len(found) < 16:
            raise ConfigError(f"--patient-key {self.patient_key}: {len(found)} bytes; use at least 16")
        return found

    def check(self) -> None:
        """Look at everything that the run needs, before any work.

        Raises:
            ConfigError: One line: what was given, what is allowed, what to set.
        """
        from radray import storage

        self.secret()
        regions = load_regions(self.regions)
        storage.check_input(self.archive, "--archive")
        if storage.normalise_url(self.output).startswith(storage.normalise_url(self.archive) + "/"):
            raise ConfigError(f"--output {self.output} lies inside --archive, which is never written to")
        storage.check_output(self.output, "--output")
        if self.labels.startswith("table:"):
            storage.check_input(self.labels.removeprefix("table:"), "--labels")
        parse_labels(self.labels, self.archive, regions)
