"""What was written goes to the PACS: each object once, a note of rejection after the copy that replaces the object."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from radray import storage
from radray.dicom.correction import source_of
from radray.dicom.parsing import lenient, parse
from radray.errors import ConfigError, Status
from radray.relabel.config import Kind, RelabelConfig
from radray.relabel.stow import PacsUnreachable, StowClient
from radray.relabel.written import (
    REFUSED,
    STORED,
    WITHDRAWN,
    Ids,
    Row,
    current_files,
    holds,
    ids_where,
    is_out_there,
    outdated_rows,
    parts_of,
    read_part,
    sent_id,
    write_part,
)

_TELL_EVERY_S = 5.0
_MOST_OBJECTS = 256
"""In one request."""


def send_written(config: RelabelConfig) -> dict[str, Any]:
    """Send what the table names and the PACS does not have yet, withdraw what is outdated there; return counts.

    Outcomes are written into the table after every request; what was under way when a run is killed is sent once more,
    and the PACS knows it by its UID. A PACS that gives no answer ends the sending, not the job: the rest goes next
    time.
    """
    assert config.stow is not None
    counts: Counter[str] = Counter()
    stopped: str | None = None
    client = StowClient(config.stow)
    told = time.monotonic()
    parts = parts_of(config.output)
    stored, current = stored_ids(config), current_files(config.output)
    try:
        for number, part in enumerate(parts):
            rows = read_part(part)
            for choose in (_images_and_reports, _notes):
                for batch in _batches(choose(config, rows, stored), config.stow_mib):
                    _send(client, config, batch)
                    write_part(part, rows)
                    counts.update(f"{row['kind']} {row['sent']}" for row in batch)
            _withdraw(client, config, part, rows, outdated_rows(rows, current), counts)
            if time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                print(f"relabel: {sum(counts.values()):,} sent · part {number + 1} of {len(parts)}", file=sys.stderr)
    except PacsUnreachable as error:
        stopped = str(error)
    finally:
        client.close()
    unsent = sum(len(list(rows_to_send(config, read_part(part), stored))) for part in parts) if stopped else 0
    if stopped:
        print(f"relabel: --stow {config.stow} stopped: {stopped} · {unsent:,} not sent, run again", file=sys.stderr)
    return {**{what: counts[what] for what in sorted(counts)}, "stopped": stopped, "unsent": unsent}


def withdraw_all(config: RelabelConfig) -> dict[str, Any]:
    """Send a rejection note for every copy and report that the PACS stored; return counts.

    A note that was sent cannot be withdrawn by another: the standard has no word for it.

    Raises:
        ConfigError: The PACS stopped answering; what was withdrawn is known, the files are still there.
    """
    assert config.stow is not None
    counts: Counter[str] = Counter()
    client = StowClient(config.stow)
    try:
        for part in parts_of(config.output):
            rows = read_part(part)
            _withdraw(client, config, part, rows, rows, counts)
            counts["notes remain"] += sum(row["kind"] == Kind.REJECTION and row["sent"] == STORED for row in rows)
    except PacsUnreachable as error:
        raise ConfigError(f"--stow {config.stow}: the PACS gives no usable answer ({error}); undo once more") from error
    finally:
        client.close()
    return {what: counts[what] for what in sorted(counts)}


def stored_ids(config: RelabelConfig) -> Ids:
    """Numbers of the objects that any PACS is known to have, sorted: 8 bytes an object."""
    return ids_where(parts_of(config.output), sent_id)


def rows_to_send(config: RelabelConfig, rows: Iterable[Row], stored: Ids) -> Iterator[Row]:
    """Rows of files that the PACS does not have, of the kinds asked for."""
    for row in rows:
        if row["status"] == Status.OK.value and row["kind"] in config.kinds and not _is_stored(config, row, stored):
            yield row


def _is_stored(config: RelabelConfig, row: Row, stored: Ids) -> bool:
    """Whether the PACS has a row's object, by this row or by another: exact copies share one."""
    number = sent_id(row | {"sent": STORED, "sent_to": config.stow})
    return (row["sent"] == STORED and row["sent_to"] == config.stow) or (number is not None and holds(stored, number))


def _images_and_reports(config: RelabelConfig, rows: list[Row], stored: Ids) -> Iterator[Row]:
    return (row for row in rows_to_send(config, rows, stored) if row["kind"] != Kind.REJECTION)


def _notes(config: RelabelConfig, rows: list[Row], stored: Ids) -> Iterator[Row]:
    """Notes of objects whose copies the PACS has; to be asked for once those were sent."""
    replaced = {row["uri"] for row in rows if row["kind"] == Kind.COPY and _is_stored(config, row, stored)}
    return (
        row for row in rows_to_send(config, rows, stored) if row["kind"] == Kind.REJECTION and row["uri"] in replaced
    )


def _batches(rows: Iterator[Row], mib: float) -> Iterator[list[Row]]:
    """Rows whose files fit into a request together."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (size + row["size"] > mib * (1 << 20) or len(batch) == _MOST_OBJECTS):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row["size"]
    if batch:
        yield batch


def _send(client: StowClient, config: RelabelConfig, batch: list[Row]) -> None:
    """Send one batch and note in its rows what became of it."""
    with ThreadPoolExecutor(config.workers) as threads:
        files = dict(zip((row["sop_instance_uid"] for row in batch), threads.map(_read, batch), strict=True))
    outcomes = _store(client, {uid: body for uid, body in files.items() if body is not None})
    for row in batch:
        why = outcomes.get(row["sop_instance_uid"], "its file is gone; run the job once more")
        row |= {"sent": REFUSED if why else STORED, "sent_to": config.stow, "sent_message": why}


def _store(client: StowClient, bodies: dict[str, bytes]) -> dict[str, str | None]:
    """Store some objects; where the PACS refuses all alike, by halves: one that it chokes on takes none along."""
    outcomes = client.store(bodies) if bodies else {}
    if len(bodies) < 2 or not all(why and why.startswith("HTTP") for why in outcomes.values()):
        return outcomes
    uids = list(bodies)
    halves = uids[: len(uids) // 2], uids[len(uids) // 2 :]
    return {uid: why for half in halves for uid, why in _store(client, {uid: bodies[uid] for uid in half}).items()}


def _read(row: Row) -> bytes | None:
    try:
        return storage.read_bytes(row["url"])
    except FileNotFoundError:
        return None


def _withdraw(
    client: StowClient, config: RelabelConfig, part: str, rows: list[Row], chosen: list[Row], counts: Counter[str]
) -> None:
    """Send a rejection note for each chosen row's object that the PACS has; what became of it goes into the table."""
    from radray.dicom.documents import reject_object  # a second of imports

    for row in chosen:
        if not is_out_there(row) or row["sent_to"] != config.stow:
            continue
        body = _read(row)
        why: str | None = "its file is gone"
        if body is not None:
            with lenient():
                note = reject_object(source_of(parse(body), body), "Correction withdrawn", storage.modified(row["url"]))
            why = client.store({note.sop_instance: note.body})[note.sop_instance]
        row |= {"sent": STORED if why else WITHDRAWN, "sent_message": why}
        counts[f"{row['kind']} {'not ' if why else ''}withdrawn"] += 1
        write_part(part, rows)
