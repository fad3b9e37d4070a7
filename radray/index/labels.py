"""Where labels come from: the header, the object's path, or a table of the site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from radray import storage
from radray.errors import ConfigError
from radray.regions import RegionSet
from radray.site_table import read_site_table
from radray.tables import row_id


class LabelSource(Protocol):
    """Gives objects their label."""

    def label(self, uri: str, facts: dict[str, Any]) -> tuple[str | None, str | None]:
        """The region of the object and the name of its source; (None, None) when unknown."""


@dataclass(frozen=True)
class HeaderLabels:
    """The label that the header reader found already."""

    def label(self, uri: str, facts: dict[str, Any]) -> tuple[str | None, str | None]:
        """As `header_label` found it."""
        return facts["label"], facts["label_source"]


@dataclass(frozen=True)
class PathLabels:
    """A part of the path below the archive."""

    pattern: re.Pattern[str]
    archive: str
    regions: RegionSet

    def label(self, uri: str, facts: dict[str, Any]) -> tuple[str | None, str | None]:
        """The region that the pattern's group names."""
        found = self.pattern.search(uri.removeprefix(self.archive).lstrip("/"))
        if not found:
            return None, None
        text = found["region"] if "region" in self.pattern.groupindex else found[1 if self.pattern.groups else 0]
        named = self.regions.normalise(text)
        return (named, "path") if named else (None, None)


@dataclass(frozen=True)
class TableLabels:
    """Labels of a table, kept as sorted 64-bit ids and class numbers: ten bytes a row."""

    ids: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int16]
    names: tuple[str, ...]

    def label(self, uri: str, facts: dict[str, Any]) -> tuple[str | None, str | None]:
        """The region that the table's row for `uri` names."""
        key = row_id(uri)
        place = int(np.searchsorted(self.ids, key))
        if place < len(self.ids) and self.ids[place] == key and self.classes[place] >= 0:
            return self.names[self.classes[place]], "table"
        return None, None


def parse_labels(spec: str, archive: str, regions: RegionSet) -> LabelSource:
    """The label source that `--labels` names.

    Raises:
        ConfigError: Unknown kind, a pattern that is none, or a table without the columns needed.
    """
    archive = storage.normalise_url(archive)
    kind, _, rest = spec.partition(":")
    if spec == "header":
        return HeaderLabels()
    if kind == "path" and rest:
        try:
            return PathLabels(re.compile(rest), archive, regions)
        except re.error as error:
            raise ConfigError(f"--labels {spec}: not a regular expression ({error})") from error
    if kind == "table" and rest:
        return _table_labels(rest, archive, regions)
    raise ConfigError(f"--labels {spec!r} is not allowed; use header, path:REGEX or table:URL")


def _table_labels(url: str, archive: str, regions: RegionSet) -> TableLabels:
    rows = read_site_table(url, "--labels table:", base=archive)
    label = next((name for name in ("label", "region") if name in rows.column_names), None)
    if label is None:
        raise ConfigError(f"--labels table:{url}: needs a column label or region")
    numbers = {name: number for number, name in enumerate(regions.names)}
    ids = np.empty(rows.num_rows, np.int64)
    classes = np.full(rows.num_rows, -1, np.int16)
    for place, (uri, text) in enumerate(zip(rows.column("uri"), rows.column(label), strict=True)):
        ids[place] = row_id(uri.as_py())
        classes[place] = numbers.get(_region(text.as_py(), regions) or "", -1)
    order = np.argsort(ids, kind="stable")
    return TableLabels(ids[order], classes[order], regions.names)


def _region(text: object, regions: RegionSet) -> str | None:
    if text is None:
        return None
    return str(text) if str(text) in regions.names else regions.normalise(str(text))
