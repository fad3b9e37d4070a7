"""From decided objects to corrected copies, reports and rejection notes; killed and started again, the same files."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from radray import storage
from radray.archive import fetch
from radray.archive.members import split_member
from radray.dicom.correction import Corrected, RegionCorrection, Source, correct_region, open_source
from radray.errors import ObjectError, Reason, Status
from radray.relabel.config import Kind, RelabelConfig
from radray.relabel.corrections import Decided, Part, RegionTerm, wanted_kinds
from radray.relabel.written import (
    OUTDATED,
    PENDING,
    WRITTEN_SCHEMA,
    Row,
    file_url,
    holds,
    name_id,
    names_present,
    part_url,
    read_part,
    write_part,
)

_TELL_EVERY_S = 5.0
_COPIES = (Kind.COPY, Kind.COPY_SAME_UID)


class Missing(NamedTuple):
    """An object and what is to be written about it."""

    decided: Decided
    kinds: list[Kind]
    copy: str | None
    """SOP Instance UID of the copy that stays."""


class Plan(NamedTuple):
    """What a part needs."""

    kept: list[Row]
    """Rows whose files stay as they are."""
    made: list[Missing]
    """What is to be written."""
    outdated: list[Row]
    """Rows whose files are no longer wanted."""


class WriteBack:
    """One run's writer; everything in it happens within `lenient()`.

    Args:
        config: With folders to write to; without any it only plans, and looks at no source.
        terms: How DICOM names each region.
    """

    def __init__(self, config: RelabelConfig, terms: dict[str, RegionTerm]) -> None:
        self._config, self._terms = config, terms
        self._roots = {
            kind: storage.normalise_url(root)
            for kind in config.kinds
            if (root := config.sr if kind == Kind.SR else config.copies) is not None
        }
        self._present = names_present(dict.fromkeys(self._roots.values()))
        self._started = self._told = time.monotonic()
        self._share = 0.0
        self.counts: Counter[str] = Counter()
        """`KIND written`, `KIND kept`, `KIND REASON`, and `bytes` written."""

    def plan(self, part: Part) -> Plan:
        """Hold what is there against what is wanted."""
        rows = read_part(part_url(self._config.output, part.name))
        old = {(row["uri"], row["kind"]): row for row in rows if row["status"] != OUTDATED}
        kept, made = [], []
        known = [each for each in part.objects if any((each.uri, kind) in old for kind in Kind)]
        etags = self._etags(known) if self._roots else {}
        for decided in part.objects:
            digest = decided.digest(self._terms.get(decided.region or ""))
            todo, copy = [], None
            for kind in sorted(wanted_kinds(decided, report_all=self._config.sr_of == "decided")):
                row = old.get((decided.uri, kind))
                if row is not None and self._stands(row, decided, digest, etags.get(decided.uri)):
                    kept.append(row)
                    copy = row["sop_instance_uid"] if kind == Kind.COPY else copy
                elif kind in self._roots:
                    todo.append(kind)
            if todo:
                made.append(Missing(decided, todo, copy))
        stays = {id(row) for row in kept}
        outdated = [row | {"status": OUTDATED} for row in rows if row["url"] and id(row) not in stays]
        return Plan(kept, made, outdated)

    def _etags(self, objects: Iterable[Decided]) -> dict[str, str | None]:
        """What the sources are now, by `uri`; None where nothing says, so that what is there stays."""
        known = list(objects)
        with ThreadPoolExecutor(self._config.workers) as threads:
            return dict(zip((decided.uri for decided in known), threads.map(_etag, known), strict=True))

    def _stands(self, row: Row, decided: Decided, digest: str, etag: str | None) -> bool:
        """Whether a row of an earlier run is what this one would write."""
        if row["decision"] != digest or row["row_id"] != decided.row_id:
            return False
        if etag is not None and row.get("etag") != etag:
            return False
        kind = Kind(row["kind"])
        if kind not in self._roots:
            return row["status"] != PENDING and not (kind in _COPIES and any(other in self._roots for other in _COPIES))
        if row["status"] == Status.SET_ASIDE.value:
            return True
        if row["status"] != Status.OK.value or not row["url"].startswith(self._roots[kind] + "/"):
            return False
        return holds(self._present, name_id(row["url"]))

    def write(self, part: Part) -> None:
        """Write what a part needs, and its rows of the table; a few objects at a time."""
        url = part_url(self._config.output, part.name)
        kept, made, outdated = self.plan(part)
        self.counts.update(f"{row['kind']} {row['reason'] or 'kept'}" for row in kept)
        done: list[Row] = []
        source = iter(made)
        with ThreadPoolExecutor(self._config.workers) as threads:
            while some := list(islice(source, self._config.workers)):
                # Before the bytes: a source that changes in between is seen by the next run.
                etags = self._etags(missing.decided for missing in some)
                bodies = threads.map(_fetch, (missing.decided for missing in some))
                new = [
                    (row | {"etag": etags[missing.decided.uri]}, file)
                    for missing, body in zip(some, bodies, strict=True)
                    for row, file in self._about(missing, body)
                ]
                files = {row["url"]: body for row, body in new if row["url"]}
                if files:
                    drafts = [row | {"status": PENDING} for row, _ in new if row["url"]]
                    write_part(url, [*kept, *done, *drafts, *outdated])
                self.counts["bytes"] += sum(threads.map(self._put, files, files.values()))
                done += [row for row, _ in new]
                self.counts.update(f"{row['kind']} {row['reason'] or 'written'}" for row, _ in new)
                self._tell(part.share, len(done) / len(made) / len(self._roots))
        self._share = part.share
        write_part(url, [*kept, *done, *outdated])

    def _put(self, url: str, body: bytes) -> int:
        """Write a file unless it is there already, from a run that was killed; bytes written."""
        if holds(self._present, name_id(url)) and storage.read_bytes(url) == body:
            return 0
        storage.write_bytes(url, body)
        return len(body)

    def _about(self, missing: Missing, body: bytes | ObjectError) -> Iterator[tuple[Row, bytes]]:
        """Each kind's row and file; a row without URL has none."""
        decided = missing.decided
        term = self._terms.get(decided.region or "")
        replacement = missing.copy
        for kind in missing.kinds:
            row: Row = {
                **dict.fromkeys(WRITTEN_SCHEMA.names),
                "uri": decided.uri,
                "row_id": decided.row_id,
                "kind": kind.value,
                "region": decided.region,
                "source": decided.source,
                "decision": decided.digest(term),
            }
            try:
                if isinstance(body, ObjectError):
                    raise body
                if term is None:
                    raise ObjectError(Reason.NO_REGION, "the image shows none of the regions: nothing to write")
                made = _document(kind, _opened(body, decided), decided, term, replacement)
            except ObjectError as error:
                row |= {"status": error.reason.status.value, "reason": error.reason.value, "message": error.message}
                yield row, b""
                continue
            replacement = made.sop_instance if kind == Kind.COPY else replacement
            row |= {"status": Status.OK.value, "url": file_url(self._roots[kind], made.name)}
            row |= {"sop_class_uid": made.sop_class, "sop_instance_uid": made.sop_instance, "size": len(made.body)}
            yield row, made.body

    def _tell(self, share: float, part_done: float) -> None:
        """A line of progress every few seconds; `share` of all labels is done with this part, `part_done` of it now."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            written = sum(count for what, count in self.counts.items() if what.endswith(" written"))
            done, took = self._share + (share - self._share) * min(1.0, part_done), now - self._started
            rate, left = written / took, took * (1 / max(done, 1e-9) - 1)
            print(f"relabel: {written:,} objects written · {rate:.0f}/s · ETA {left:.0f} s", file=sys.stderr)


def _etag(decided: Decided) -> str | None:
    """What tells whether a source changed: the store's ETag, else time and size; of a zip member, its file's."""
    if decided.region is None or decided.place is None or "/" not in decided.place:
        return None
    member = split_member(decided.place)
    place = storage.locate(member[0] if member else decided.place)
    try:
        facts = place.fs.info(place.path)
    except Exception:  # every store has errors of its own
        return None
    named = facts.get("etag") or facts.get("ETag")
    changed = facts.get("mtime") or facts.get("updated") or facts.get("LastModified")
    return str(named).strip('"') if named else f"{changed}-{facts.get('size')}"


def _fetch(decided: Decided) -> bytes | ObjectError:
    if decided.region is None:
        return b""
    if decided.place is None or "/" not in decided.place:
        return ObjectError(Reason.FETCH_FAILED, "its key is no URL, nor one that --index knows")
    try:
        return fetch(decided.place)
    except ObjectError as error:
        return error


def _opened(body: bytes, decided: Decided) -> Source:
    source = open_source(body)
    if decided.frames != source.frames:
        said = f"{decided.frames} of its {source.frames} frames decided" if decided.frames else "frames decided apart"
        raise ObjectError(Reason.SOME_FRAMES, f"{said}: an object has one region for all of them")
    return source


def _correction(decided: Decided, term: RegionTerm) -> RegionCorrection:
    return RegionCorrection(
        body_part=term.body_part,
        code=term.code,
        meaning=term.meaning,
        decided=decided.decided.strftime("%Y%m%d%H%M%S%z"),
        decided_by="a reviewer" if decided.bundle is None else f"the model, bundle {decided.bundle}",
    )


def _document(kind: Kind, source: Source, decided: Decided, term: RegionTerm, replacement: str | None) -> Corrected:
    if kind in _COPIES:
        return correct_region(source, _correction(decided, term), same_uid=kind == Kind.COPY_SAME_UID)
    from radray.dicom.documents import RegionFinding, reject_object, report_region  # a second of imports

    if kind == Kind.REJECTION:
        if replacement is None:
            raise ObjectError(Reason.CORRUPT_HEADER, "no copy could be made that replaces it")
        return reject_object(source, f"Wrong anatomic region. Replaced by {replacement}", decided.decided)
    finding = RegionFinding(
        code=term.code,
        meaning=term.meaning,
        decided=decided.decided,
        reviewer=decided.reviewer,
        bundle=decided.bundle,
        confidence=decided.confidence,
    )
    return report_region(source, finding)
