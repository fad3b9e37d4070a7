"""Verdicts: what a line of verdicts.csv says, and what many lines mean in the end."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from radray.errors import ConfigError

OUTSIDE = ""
"""The outcome of an image that shows none of the regions."""


class Ruling(StrEnum):
    """What a reviewer can say about an image."""

    CONFIRM = "confirm"
    """The label is right; for an image without label: the suggestion is."""
    CORRECT = "correct"
    """Another region is right."""
    OUT_OF_DOMAIN = "out_of_domain"
    """The image shows none of the regions."""
    UNSURE = "unsure"
    """Left as it is."""
    UNDO = "undo"
    """The reviewer's last ruling on this image no longer counts."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of verdicts.csv."""

    uri: str
    """Key of the image."""
    reviewer: str
    """Name or initials: of the reviewers' file, else as the reviewer gives it."""
    verdict: str
    """One of `Ruling`."""
    region: str = ""
    """The region that is right, for confirm and correct; else empty."""
    time: str = ""
    """ISO 8601, UTC."""
    comment: str = ""
    blind: str = ""
    """`yes` where the model's opinion was hidden."""
    id: str = ""
    """Of this key press, given by the page (32 hex digits): a line that is sent twice counts once."""

    def __post_init__(self) -> None:
        """Check what a page or a file can get wrong.

        Raises:
            ConfigError: Unknown verdict, no key, or no region where one belongs.
        """
        if self.verdict not in tuple(Ruling):
            raise ConfigError(f"verdict {self.verdict!r} is unknown; use {', '.join(Ruling)}")
        if not self.uri:
            raise ConfigError("a verdict without uri was given; name the image")
        if self.verdict in (Ruling.CONFIRM, Ruling.CORRECT) and not self.region:
            raise ConfigError(f"a {self.verdict} verdict without region was given; name the region")

    @property
    def outcome(self) -> str | None:
        """The region it stands for, `OUTSIDE`, or None where the reviewer is unsure (or takes it back)."""
        if self.verdict == Ruling.OUT_OF_DOMAIN:
            return OUTSIDE
        return self.region if self.verdict in (Ruling.CONFIRM, Ruling.CORRECT) else None


COLUMNS = tuple(field.name for field in fields(Verdict))
_NEEDED = ("uri", "reviewer", "verdict", "region")


class VerdictLines(NamedTuple):
    """What a verdicts file holds."""

    verdicts: list[Verdict]
    """Oldest first."""
    whole_bytes: int
    """Length of the file up to the end of its last whole line."""
    columns: tuple[str, ...]
    """Of its header; none in an empty file."""


def read_lines(body: bytes, source: str) -> VerdictLines:
    """The lines of a verdicts file; a last line that was torn when its writer was killed is left out.

    Its page never heard that a torn line was saved, and sends it again.

    Args:
        body: CSV with a header of `COLUMNS` (the last four may be missing), UTF-8.
        source: Its URL, for messages.

    Raises:
        ConfigError: Another file, or a line that is no verdict.
    """
    whole = body.rfind(b"\n") + 1
    if whole < len(body) and _is_whole(body):
        whole = len(body)
    try:
        reader = csv.DictReader(io.StringIO(body[:whole].decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8; save the verdicts as UTF-8 CSV") from error
    try:
        columns = tuple(reader.fieldnames or ())
        if whole and (missing := [name for name in _NEEDED if name not in columns]):
            raise ConfigError(f"{source}: column {missing[0]!r} is missing; a verdicts file has {', '.join(COLUMNS)}")
        verdicts = []
        for row in reader:
            try:
                verdicts.append(Verdict(**{name: row.get(name) or "" for name in COLUMNS}))
            except ConfigError as error:
                raise ConfigError(f"{source} line {reader.line_num}: {error}") from error
    except csv.Error as error:
        raise ConfigError(f"{source}: no CSV ({error}); give a verdicts file of the review page") from error
    return VerdictLines(verdicts, whole, columns)


def _is_whole(body: bytes) -> bool:
    """Whether a last line without line end (a spreadsheet may save it so) has all columns, the id with all digits."""
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return False
    names, last = rows[0], rows[-1]
    return len(rows) > 1 and len(last) == len(names) and (names[-1] != "id" or len(last[-1]) == 32)


def parse_verdicts(body: bytes, source: str) -> list[Verdict]:
    """The verdicts of a file, oldest first; says on standard error where the last line is torn.

    Raises:
        ConfigError: Another file, or a line that is no verdict.
    """
    lines = read_lines(body, source)
    if body and not lines.columns:
        raise ConfigError(f"{source}: no whole line; a verdicts file has {', '.join(COLUMNS)}")
    if lines.whole_bytes < len(body):
        print(f"{source}: the last line is torn and left out; it had not been answered as saved", file=sys.stderr)
    return lines.verdicts


def standing_verdicts(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], Verdict]:
    """Each reviewer's standing verdict on each image: (uri, reviewer) → the last one that was not undone."""
    stacks: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        stack = stacks.setdefault((verdict.uri, verdict.reviewer), [])
        if verdict.verdict != Ruling.UNDO:
            stack.append(verdict)
        elif stack:
            stack.pop()
    return {key: stack[-1] for key, stack in stacks.items() if stack}


def outcomes_by_image(verdicts: Iterable[Verdict]) -> dict[str, dict[str, str]]:
    """What the reviewers say of each image: uri → reviewer → outcome; who is unsure says nothing."""
    found: dict[str, dict[str, str]] = {}
    for (uri, reviewer), verdict in standing_verdicts(verdicts).items():
        if verdict.outcome is not None:
            found.setdefault(uri, {})[reviewer] = verdict.outcome
    return found


def settled_outcomes(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """The outcome of each image about which nobody who is sure differs: uri → region or `OUTSIDE`."""
    return {uri: next(iter(of.values())) for uri, of in outcomes_by_image(verdicts).items() if len({*of.values()}) == 1}


def now() -> str:
    """The time of a verdict: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
