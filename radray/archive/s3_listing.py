"""Keys of an S3 prefix in order, listed by several requests at a time.

ListObjectsV2 gives 1,000 keys a request, each page only after the one before. Folders found with a delimiter (1,000 a
request, however much lies in them) cut the key space into ranges, which are listed side by side and given out in
order; at most a few pages of each are held.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from radray import storage
from radray.archive.pace import wait_for_turn
from radray.outages import ask_store

PAGE = 1000
"""Keys a request returns at most."""
RANGES_AT_ONCE = 8
"""Ranges listed side by side."""
_PAGES_AHEAD = 4
"""Pages of a range held before they are wanted."""
_ENOUGH, _MOST, _DEPTH = 16, 64, 4
"""Folders to cut at, at least and at most; levels of folders looked through for so many."""

Entry = dict[str, Any]
"""Key, Size, ETag, LastModified, as S3 gives them."""


def list_keys(place: storage.Location) -> Iterator[Entry]:
    """Every object below `place` in the order of the keys' UTF-8 bytes."""
    bucket, prefix = bucket_and_prefix(place)
    cuts = _cuts(place, bucket, prefix)
    stop = threading.Event()
    active: deque[_Range] = deque()
    after: str | None = ""
    try:
        while after is not None or active:
            while after is not None and len(active) < RANGES_AT_ONCE:
                before = next(cuts, None)
                active.append(_Range(place, bucket, prefix, after, before, stop))
                after = before
            yield from active.popleft()
    finally:
        stop.set()


def bucket_and_prefix(place: storage.Location) -> tuple[str, str]:
    """The bucket of an S3 URL, and the prefix with its closing slash ("" for the whole bucket)."""
    bucket, _, prefix = place.path.partition("/")
    return bucket, f"{prefix.rstrip('/')}/" if prefix else ""


def _cuts(place: storage.Location, bucket: str, prefix: str) -> Iterator[str]:
    """Keys at which to cut, in order: folder names of the first level that has enough of them."""
    level = [prefix]
    for _ in range(_DEPTH):
        found: list[str] = []
        for folder in level:
            pages = _folder_pages(place, {"Bucket": bucket, "Prefix": folder, "Delimiter": "/", "MaxKeys": PAGE})
            names, more = next(pages)
            if more:
                # Many folders: one page of them is range enough, and the next page is asked for when it is needed.
                yield from (name for name in found if name < folder)
                yield from names[:1]
                for names, _ in pages:
                    yield from names[:1]
                return
            found += names
        if len(found) >= _ENOUGH or not found:
            break
        level = found
    folders = found or (level if level != [prefix] else [])
    yield from folders[:: -(-len(folders) // _MOST) or 1]


def _list_page(place: storage.Location, request: dict[str, Any]) -> dict[str, Any]:
    wait_for_turn()
    page: dict[str, Any] = ask_store(place.url, lambda: place.fs.call_s3("list_objects_v2", **request))
    return page


def _folder_pages(place: storage.Location, request: dict[str, Any]) -> Iterator[tuple[list[str], bool]]:
    """Folders below a prefix page by page, and whether there are more."""
    more = True
    while more:
        page = _list_page(place, request)
        more = bool(page.get("IsTruncated"))
        yield [entry["Prefix"] for entry in page.get("CommonPrefixes", ())], more
        request = request | {"ContinuationToken": page.get("NextContinuationToken")}


class _Range:
    """Keys from `after` (a folder's name, included) up to `before`, listed by a thread of its own."""

    def __init__(
        self, place: storage.Location, bucket: str, prefix: str, after: str, before: str | None, stop: threading.Event
    ) -> None:
        self._place, self._stop, self._before = place, stop, before
        self._request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
        if after:
            # StartAfter leaves the key itself out; a folder's own marker object is no object of the archive.
            self._request["StartAfter"] = after
        self._pages: queue.Queue[list[Entry] | BaseException | None] = queue.Queue(_PAGES_AHEAD)
        threading.Thread(target=self._run, daemon=True).start()

    def __iter__(self) -> Iterator[Entry]:
        while (page := self._pages.get()) is not None:
            if isinstance(page, BaseException):
                raise page
            yield from page

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                page = _list_page(self._place, self._request)
                entries: list[Entry] = page.get("Contents", [])
                mine = [entry for entry in entries if self._before is None or _precedes(entry["Key"], self._before)]
                self._put(mine)
                if len(mine) < len(entries) or not page.get("IsTruncated"):
                    break
                self._request["ContinuationToken"] = page["NextContinuationToken"]
            self._put(None)
        except BaseException as error:  # handed to the thread that reads
            self._put(error)

    def _put(self, page: list[Entry] | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                return self._pages.put(page, timeout=0.5)
            except queue.Full:
                continue


def _precedes(key: str, cut: str) -> bool:
    return key.encode() < cut.encode()
