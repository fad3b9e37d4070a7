"""The way back: copies, reports and notes of what the labels changed; counted alone, or written and sent."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from radray import storage
from radray.archive.members import split_member
from radray.dicom.parsing import lenient
from radray.relabel.config import Kind, RelabelConfig
from radray.relabel.corrections import Decided, Part, RegionTerm, look_up_objects
from radray.relabel.sending import rows_to_send, send_written, stored_ids
from radray.relabel.write_back import WriteBack
from radray.relabel.written import is_out_there, mark_stale, parts_of, read_part, remove_outdated


def run_corrections(config: RelabelConfig, parts: Iterable[Part], terms: dict[str, RegionTerm]) -> dict[str, Any]:
    """Write and send what the parts need, or count it; return the counts for the summary.

    Args:
        config: With at least one kind to write.
        parts: Of all labels, as they become known.
        terms: How DICOM names each region.
    """
    with lenient():
        writer = WriteBack(config, terms)
        if config.dry_run:
            return {"would": _count(config, writer, look_up_objects(parts, config.index))}
        names = set()
        for part in look_up_objects(parts, config.index):
            names.add(part.name)
            writer.write(part)
    mark_stale(config.output, names)
    sent = {"sent": send_written(config)} if config.stow is not None else {}
    counts = {what: writer.counts[what] for what in sorted(writer.counts)}
    return {"corrections": {**counts, "removed": remove_outdated(config.output)}, **sent}


def count_left(config: RelabelConfig, parts: Iterable[Part], terms: dict[str, RegionTerm]) -> int:
    """Files of earlier runs that say what the labels no longer do; a run without folders leaves them as they are."""
    writer = WriteBack(config, terms)
    left, names = 0, set()
    for part in parts:
        names.add(part.name)
        left += len(writer.plan(part).outdated)
    for file in parts_of(config.output):
        if file.rsplit("/", 1)[-1].removesuffix(".parquet") not in names:
            left += sum(row["url"] is not None for row in read_part(file))
    if left:
        print(
            f"relabel: {left:,} copies, reports and notes of earlier runs do not say what the labels say now and stay "
            "as they are; run again with --copies or --sr, as then",
            file=sys.stderr,
        )
    return left


def _count(config: RelabelConfig, writer: WriteBack, parts: Iterable[Part]) -> dict[str, int]:
    """What a run would do. Bytes are those of the copies' sources; sizes of zip members only the index knows."""
    counts: Counter[str] = Counter()
    stored = stored_ids(config) if config.stow is not None else None
    with ThreadPoolExecutor(config.workers) as threads:
        for part in parts:
            plan = writer.plan(part)
            kinds = [kind for missing in plan.made for kind in missing.kinds if missing.decided.region is not None]
            counts.update(f"{kind} to write" for kind in kinds)
            counts.update(f"{row['kind']} kept" for row in plan.kept if row["url"])
            counts.update(f"{row['kind']} to remove" for row in plan.outdated)
            counts["without region"] += sum(missing.decided.region is None for missing in plan.made)
            copied = [
                missing.decided
                for missing in plan.made
                if {Kind.COPY, Kind.COPY_SAME_UID}.intersection(missing.kinds) and missing.decided.region is not None
            ]
            sizes = list(threads.map(_size, copied))
            counts["bytes of copies"] += sum(found or 0 for found in sizes)
            counts["copies of unknown size"] += sizes.count(None)
            if stored is not None:
                counts["to send"] += len(kinds) + len(list(rows_to_send(config, plan.kept, stored)))
                counts["to withdraw"] += sum(is_out_there(row) for row in plan.outdated)
    return {what: counts[what] for what in sorted(counts)}


def _size(decided: Decided) -> int | None:
    if decided.size is not None or decided.place is None or split_member(decided.place):
        return decided.size
    try:
        return storage.size(decided.place)
    except OSError:
        return None
