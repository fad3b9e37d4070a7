"""Label rows to what is to be written about an object: one decision an object, whatever its number of frames."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.errors import ConfigError
from radray.regions import SHIPPED, body_parts, load_regions
from radray.relabel.config import Kind
from radray.relabel.policy import Source
from radray.review.verdicts import Verdict

_FRAME = re.compile(r"(.+)#frame=(\d+)", re.DOTALL)
_LOOKED_UP_TOGETHER = 20_000
"""Objects whose URLs are found in one pass over the index."""


class RegionTerm(NamedTuple):
    """How DICOM names a region."""

    body_part: str
    code: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Decided:
    """An object and the region decided for it."""

    uri: str
    """The object's key, as predictions call it, without a frame."""
    row_id: int
    place: str | None
    """URL of its bytes; None where the index does not know the key."""
    size: int | None = None
    """In bytes, None where not known."""
    region: str | None
    source: str
    """One of `policy.Source`."""
    changed: bool
    """Whether the region differs from the header's."""
    frames: int
    """Frames that were decided alike; 0 where they were not."""
    reviewer: str | None
    bundle: str | None
    confidence: float | None
    decided: datetime

    def digest(self, term: RegionTerm | None) -> str:
        """What was decided by whom, but not when: what is written stays while this does."""
        facts = [self.region, term, self.source, self.reviewer, self.bundle, self.frames]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


class Part(NamedTuple):
    """The decided objects among some adjacent rows of one labels file."""

    name: str
    objects: list[Decided]
    share: float
    """How much of all labels is done with this part, 0 to 1."""


class Chunk(NamedTuple):
    """Some adjacent rows of one labels file, and what the part made of them is called."""

    name: str
    rows: list[dict[str, Any]]
    share: float
    """How much of all labels is done with them, 0 to 1."""


def whole_objects(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same rows; where a chunk ends among the frames of an object, those go into the next one."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None:
            last = _object_key(held.rows[-1])
            if _object_key(chunk.rows[0]) == last:
                own = next((n for n, row in enumerate(reversed(held.rows)) if _object_key(row) != last), len(held.rows))
                cut = len(held.rows) - own
                chunk = chunk._replace(rows=held.rows[cut:] + chunk.rows)
                held = held._replace(rows=held.rows[:cut])
            yield held
        held = chunk
    if held is not None:
        yield held


def _object_key(row: Mapping[str, Any]) -> str:
    frame = _FRAME.fullmatch(row["uri"])
    return frame[1] if frame else str(row["uri"])


def decided_objects(rows: list[dict[str, Any]], verdicts: Mapping[str, Verdict], scored: datetime) -> list[Decided]:
    """The objects among label rows that somebody decided on.

    Args:
        rows: Of `LABELS_SCHEMA`; frames of one object may stand in any order.
        verdicts: The standing verdict by `uri`.
        scored: When scoring ended: the time of the model's decisions, and of undated verdicts.
    """
    by_object: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_object.setdefault(_object_key(row), []).append(row)
    decided = []
    for uri, frames in by_object.items():
        by_someone = [row for row in frames if row["source"] in (Source.REVIEWER, Source.MODEL)]
        if not by_someone:
            continue
        row = by_someone[0]
        verdict = verdicts.get(row["uri"]) if row["source"] == Source.REVIEWER else None
        alike = all(other["region"] == row["region"] for other in frames)
        decided.append(
            Decided(
                uri=uri,
                row_id=min(frames, key=lambda other: len(other["uri"]))["row_id"],
                place=uri,
                region=row["region"],
                source=str(row["source"]),
                changed=any(other["region"] != other["previous"] for other in frames),
                frames=len(frames) if alike else 0,
                reviewer=verdict.reviewer if verdict else None,
                bundle=row["bundle"],
                confidence=row["confidence"],
                decided=_time(verdict.time if verdict else "") or scored,
            )
        )
    return decided


def _time(written: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).replace(microsecond=0)


def wanted_kinds(decided: Decided, *, report_all: bool) -> set[Kind]:
    """What can be written about an object, asked for or not.

    Args:
        decided: The object.
        report_all: Reports are written of everything decided, not of changes alone.
    """
    if decided.changed:
        return set(Kind)
    return {Kind.SR} if report_all else set()


def region_terms(codes: Mapping[str, str], regions: str | None) -> dict[str, RegionTerm]:
    """How DICOM names each region.

    Args:
        codes: Region → SNOMED CT code.
        regions: The class list given; else those shipped, then PS3.16 Annex L by code.

    Raises:
        ConfigError: A region that none of them knows.
    """
    terms = known_terms(codes, regions)
    for name, code in codes.items():
        if name not in terms:
            raise ConfigError(
                f"region {name!r} (code {code}) has no BodyPartExamined; give its class list by --regions"
            )
    return terms


def known_terms(codes: Mapping[str, str], regions: str | None) -> dict[str, RegionTerm]:
    """As `region_terms`, of the regions that have a name alone."""
    known = {
        (region.name, region.snomed_code): RegionTerm(
            region.body_part_examined, region.snomed_code, region.snomed_meaning
        )
        for spec in (*SHIPPED, *([regions] if regions else []))
        for region in load_regions(spec).regions
    }
    by_code = {part.code: RegionTerm(part.term, part.code, part.meaning) for part in body_parts().values()}
    found = {name: known.get((name, code)) or by_code.get(code) for name, code in codes.items()}
    return {name: term for name, term in found.items() if term is not None}


def look_up_objects(parts: Iterable[Part], index: str | None) -> Iterator[Part]:
    """Parts whose objects have the URLs and sizes that the index knows; without an index, as they are."""
    if index is None:
        yield from parts
        return
    source = iter(parts)
    while some := list(_up_to(source, _LOOKED_UP_TOGETHER)):
        keys = pa.array({each.uri for part in some for each in part.objects}, pa.string())
        found: dict[str, tuple[str, int | None]] = {}
        for file in storage.list_files(index, ".parquet") if len(keys) else ():
            columns, wanted = ["key", "uri", "size"], pc.field("key").isin(keys)
            for row in storage.read_table(file, columns=columns, filter=wanted).to_pylist():
                found[row["key"]] = row["uri"], row["size"]
        for part in some:
            yield part._replace(objects=[_placed(each, found.get(each.uri)) for each in part.objects])


def _placed(decided: Decided, found: tuple[str, int | None] | None) -> Decided:
    return replace(decided, place=found[0] if found else None, size=found[1] if found else None)


def _up_to(parts: Iterator[Part], objects: int) -> Iterator[Part]:
    taken = 0
    for part in islice(parts, objects):
        yield part
        taken += len(part.objects)
        if taken >= objects:
            return
