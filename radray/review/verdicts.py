"""Verdicts: an append-only CSV file, one line a key press, and what it means in the end."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from radray.errors import ConfigError


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
    """Name or initials, as the reviewer gives it."""
    verdict: str
    """One of `Ruling`."""
    region: str = ""
    """The region that is right, for confirm and correct; else empty."""
    time: str = ""
    """ISO 8601, UTC."""
    comment: str = ""

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


COLUMNS = tuple(field.name for field in fields(Verdict))


def append_verdict(path: str | Path, verdict: Verdict) -> None:
    """Append one line and see it on the disk before returning."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    target = Path(path)
    if not target.exists() or target.stat().st_size == 0:
        writer.writerow(COLUMNS)
    writer.writerow(astuple(verdict))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.getvalue().encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_verdicts(body: bytes, source: str) -> list[Verdict]:
    """The lines of a verdicts file, oldest first.

    Args:
        body: CSV with a header of `COLUMNS`, UTF-8.
        source: Its URL, for messages.

    Raises:
        ConfigError: Another file, or a line that is no verdict.
    """
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8; save the verdicts as UTF-8 CSV") from error
    if missing := [name for name in ("uri", "reviewer", "verdict", "region") if name not in (reader.fieldnames or ())]:
        raise ConfigError(f"{source}: column {missing[0]!r} is missing; a verdicts file has {', '.join(COLUMNS)}")
    verdicts = []
    for number, row in enumerate(reader, 2):
        try:
            verdicts.append(Verdict(**{name: row.get(name) or "" for name in COLUMNS}))
        except ConfigError as error:
            raise ConfigError(f"{source} line {number}: {error}") from error
    return verdicts


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


def now() -> str:
    """The time of a verdict: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
