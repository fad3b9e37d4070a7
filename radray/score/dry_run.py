"""What a run would fetch, without fetching it: objects, requests, bytes and time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray.archive import list_objects
from radray.errors import ConfigError, Status
from radray.score.config import ScoreConfig
from radray.score.limits import paced_listing
from radray.score.selection import read_files
from radray.score.version import Version
from radray.score.versions import made_ids, measured_rate
from radray.tables import MANIFEST_SCHEMA, contains, row_id

_ROWS_AT_ONCE = 5_000


def estimate(version: Version) -> dict[str, Any]:
    """Count what a run of `version` would do now; nothing is written, and nothing but a listing is read.

    With an index only its usable objects are fetched, once each. A listing does not say which objects are radiographs:
    then bytes are an upper bound, a header and the whole object for each.

    Raises:
        ConfigError: The archive cannot be listed, or nothing in it is chosen.
    """
    config = version.config
    made = made_ids(version.folder, version.key)[0]
    selected = there = fetched = requests = size = unknown = 0
    with paced_listing(config):
        for table in config.selection().choose(_listing(version)):
            new = table.filter(pa.array(~contains(made, table["row_id"].to_numpy())))
            selected, there = selected + table.num_rows, there + table.num_rows - new.num_rows
            if version.headers is None:
                new = new.filter(pc.equal(new["status"], Status.OK.value))
                requests += new.num_rows
            else:
                first = pc.min_element_wise(new["size"], version.headers["header_bytes"])
                size += pc.sum(first).as_py() or 0
                requests += 2 * new.num_rows
            fetched += new.num_rows
            size += pc.sum(new["size"]).as_py() or 0
            unknown += new["size"].null_count
    if not selected:
        raise ConfigError(NOTHING_CHOSEN)
    rate = measured_rate(config.output)
    seconds = _seconds(config, selected - there, requests, size, rate)
    return {
        "dry_run": True,
        "rows_in": selected,
        "rows_there": there,
        "to_do": selected - there,
        "objects_fetched": fetched,
        "requests": requests,
        "bytes": size,
        "objects_of_unknown_size": unknown,
        "rows_per_s_measured": rate,
        "seconds_estimated": seconds,
        "bundle": version.bundle.digest,
        "version": version.name,
    }


NOTHING_CHOSEN = "--where, --sample and --limit choose none of the objects; widen them"


def describe_estimate(found: dict[str, Any]) -> list[str]:
    """Lines of a table for people."""
    seconds, rate = found["seconds_estimated"], found["rows_per_s_measured"]
    if rate is None:
        basis = "the limits alone: no finished run tells the speed yet; --sample 0.001 measures it"
    else:
        basis = f"at {rate} rows/s, the speed of the last run, and the limits"
    return [
        f"dry run · {found['version']} · bundle {found['bundle'][:12]}",
        f"objects chosen    {found['rows_in']:>16,}",
        f"  there already   {found['rows_there']:>16,}",
        f"  to score        {found['to_do']:>16,}",
        f"objects fetched   {found['objects_fetched']:>16,}",
        f"requests          {found['requests']:>16,}",
        f"bytes             {found['bytes']:>16,}",
        f"seconds           {'unknown' if seconds is None else f'{seconds:,.0f}':>16}  {basis}",
    ]


def _listing(version: Version) -> Iterable[pa.Table]:
    config, headers = version.config, version.headers
    if config.index is not None:
        return read_files(config.index)
    if config.archive is None or headers is None:
        raise AssertionError("the configuration holds an archive or an index")
    return _listed_now(config.archive, headers["reader"].pseudonyms.key if config.key == "hash" else None)


def _listed_now(archive: str, key: Any) -> Iterator[pa.Table]:
    listed = list_objects(archive)
    while rows := list(islice(listed, _ROWS_AT_ONCE)):
        if key is not None:
            rows = [row | {"row_id": row_id(key(row["uri"]), row["etag"])} for row in rows]
        yield pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


def _seconds(config: ScoreConfig, rows: int, requests: int, size: int, rate: float | None) -> float | None:
    """The slowest of reading and computing, over the share of the day that may be used; None where nothing is known."""
    times = [rows / rate] if rate else []
    if config.max_requests_per_s:
        times.append(requests / config.max_requests_per_s)
    if config.max_bytes_per_s:
        times.append(size / config.max_bytes_per_s)
    hours = config.open_hours()
    return round(max(times) / (1 if hours is None else hours.share), 1) if times else None
