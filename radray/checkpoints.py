"""What a checkpointed pass has done: the ids that it committed, by the data file that holds their rows.

Ray writes, for each data file `STEM-0.parquet`, the ids of its rows: first as `STEM.pending.parquet`, and when the data
file is whole it renames that to `STEM.parquet`. Here these small files are read back with pyarrow and put together as
`compacted-NNNNNN.parquet` (row_id, stem) whenever a run starts, so that the next start reads one file for them all. One
rule keeps rows and ids together whatever was killed when: a data file whose stem is not committed is deleted.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet as parquet
from pyarrow.fs import FileSelector, FileSystem, FileType
from ray.data.checkpoint.checkpoint_writer import PENDING_CHECKPOINT_SUFFIX

ID_COLUMN = "row_id"
Ids = npt.NDArray[np.int64]

_PENDING = f"{PENDING_CHECKPOINT_SUFFIX}.parquet"
_COMPACTED = "compacted-"
_READS_AT_ONCE = 32
"""Small files read together: a store answers late, but many at once."""
_FILES_AT_ONCE = 64
"""Files of a data set, whose footers are held together."""


@dataclass(frozen=True, kw_only=True)
class Commits:
    """Committed rows: the ids, and for each the place of its data file's stem in `stems`."""

    ids: Ids
    places: npt.NDArray[np.int32]
    stems: tuple[str, ...]
    files: tuple[str, ...] = ()
    """Files of ids that they were read from: what takes their place replaces these, and no file that came later."""

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, keep: npt.NDArray[np.bool_]) -> Commits:
        """Those rows of the table."""
        return replace(self, ids=self.ids[keep], places=self.places[keep])

    def of(self, stems: set[str]) -> npt.NDArray[np.bool_]:
        """Which rows lie in data files of these stems."""
        wanted = np.fromiter((stem in stems for stem in self.stems), bool, len(self.stems))
        return wanted[self.places] if len(self.stems) else np.zeros(0, bool)

    def present(self) -> set[str]:
        """Stems that have a row."""
        return {self.stems[place] for place in np.unique(self.places)}

    def repeated(self) -> npt.NDArray[np.bool_]:
        """Which rows have an id that stands before in the table."""
        _, first = np.unique(self.ids, return_index=True)
        again = np.ones(len(self.ids), bool)
        again[first] = False
        return again


class Checkpoint:
    """The commits of one shard of a pass, in one folder.

    Args:
        folder: Of the checkpoint.
        data: Folder of the data files; other shards' may lie in it too.
        filesystem: Holds both.
    """

    def __init__(self, folder: str, data: str, filesystem: FileSystem) -> None:
        self.folder, self._data, self._filesystem = folder, data, filesystem

    def read(self, *, compact: bool = True) -> Commits:
        """The commits.

        Args:
            compact: Whether what several files hold is written to one, which is used alone then: for the run that adds.
        """
        files = [path for path in list_files(self._filesystem, self.folder) if not path.endswith(_PENDING)]
        compacted = sorted(path for path in files if _name(path).startswith(_COMPACTED))
        newest, singles = compacted[-1:], sorted(set(files) - set(compacted))
        parts = [_read_compacted(self._filesystem, newest[0])] if newest else []
        known = set(parts[0].stems) if parts else set()
        parts.append(_read_singles(self._filesystem, [path for path in singles if _stem(path) not in known]))
        commits = replace(_together(parts), files=tuple(files))
        return self.write(commits) if compact and len(files) > 1 else commits

    def write(self, commits: Commits) -> Commits:
        """Put `commits` in the place of the files that they were read from; return them as read from the new one."""
        there = [_name(path) for path in list_files(self._filesystem, self.folder) if not path.endswith(_PENDING)]
        numbers = [int(name[len(_COMPACTED) : -len(".parquet")]) for name in there if name.startswith(_COMPACTED)]
        stems = pa.DictionaryArray.from_arrays(pa.array(commits.places), pa.array(commits.stems, pa.string()))
        table = pa.table({ID_COLUMN: pa.array(commits.ids, pa.int64()), "stem": stems})
        target = f"{self.folder}/{_COMPACTED}{max(numbers, default=0) + 1:06d}.parquet"
        self._filesystem.create_dir(self.folder, recursive=True)
        # A folder shows a file that is half written: it gets its name when it is whole.
        draft = f"{self.folder}/{uuid.uuid4().hex}{_PENDING}"
        parquet.write_table(table, draft, filesystem=self._filesystem, compression="zstd")
        self._filesystem.move(draft, target)
        _delete(self._filesystem, list(commits.files))
        return replace(commits, files=(target,))

    def drop_pending(self) -> None:
        """Delete what was not committed; the data files that go with it are no commit's any more."""
        found = list_files(self._filesystem, self.folder)
        _delete(self._filesystem, [path for path in found if path.endswith(_PENDING)])

    def remove_rows(self, commits: Commits, gone: npt.NDArray[np.bool_]) -> Commits:
        """Take rows out of the checkpoint and out of the data files; return the commits that are left.

        What is left of a data file is written under a new stem, so that one write, the checkpoint's, is the moment at
        which the rows go. Data files of old stems are no commit's from then on.
        """
        left = commits.only(~gone)
        names = {place: commits.stems[place] for place in np.unique(commits.places[gone])}
        files = data_files(self._filesystem, self._data) if names else {}
        stems = list(commits.stems)
        for place, stem in names.items():
            kept = left.ids[left.places == place]
            if len(kept) and stem in files:
                stems[place] = f"kept_{uuid.uuid4().hex}"
                table = dataset.dataset(files[stem], filesystem=self._filesystem, format="parquet").to_table()
                keep = np.isin(table.column(ID_COLUMN).to_numpy(), kept)
                target = f"{self._data}/{stems[place]}-0.parquet"
                parquet.write_table(
                    table.filter(pa.array(keep)), target, filesystem=self._filesystem, compression="zstd"
                )
        return self.write(_packed(replace(left, stems=tuple(stems))))


def drop_uncommitted(committed: set[str], data: str, filesystem: FileSystem) -> None:
    """Delete the data files in `data` whose stem is not in `committed`.

    A writer that was killed leaves them; so does one that outlived its run and wrote after the next one had begun.
    """
    files = data_files(filesystem, data)
    _delete(filesystem, [path for stem, paths in files.items() if stem not in committed for path in paths])


def data_files(filesystem: FileSystem, folder: str) -> dict[str, list[str]]:
    """Data files of a folder by stem; hidden names (`_`, `.`) are left out."""
    found: dict[str, list[str]] = {}
    for path in list_files(filesystem, folder):
        name = _name(path)
        if not name.startswith(("_", ".")):
            found.setdefault(name.removesuffix(".parquet").rpartition("-")[0] or name, []).append(path)
    return found


def list_files(filesystem: FileSystem, folder: str) -> list[str]:
    """Parquet files directly below `folder`."""
    entries = filesystem.get_file_info(FileSelector(folder, recursive=False, allow_not_found=True))
    return [entry.path for entry in entries if entry.type == FileType.File and entry.path.endswith(".parquet")]


def read_ids(filesystem: FileSystem, paths: list[str], where: Any = None) -> Ids:
    """The ids in some Parquet files, in the order of the files; `where` is a `pyarrow.dataset` condition."""
    parts = [
        dataset.dataset(paths[first : first + _FILES_AT_ONCE], filesystem=filesystem, format="parquet")
        .to_table(columns=[ID_COLUMN], filter=where)
        .column(ID_COLUMN)
        .to_numpy()
        for first in range(0, len(paths), _FILES_AT_ONCE)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _read_singles(filesystem: FileSystem, paths: list[str]) -> Commits:
    def read(path: str) -> Ids:
        with filesystem.open_input_stream(path) as stream:
            table = parquet.read_table(pa.BufferReader(stream.read()), columns=[ID_COLUMN], use_threads=False)
        ids: Ids = table.column(ID_COLUMN).to_numpy()
        return ids

    with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
        parts = list(threads.map(read, paths))
    return Commits(
        ids=np.concatenate([np.empty(0, np.int64), *parts]),
        places=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
        stems=tuple(_stem(path) for path in paths),
    )


def _read_compacted(filesystem: FileSystem, path: str) -> Commits:
    table = parquet.read_table(path, filesystem=filesystem)
    stems = table.column("stem").combine_chunks()
    stems = stems if pa.types.is_dictionary(stems.type) else stems.dictionary_encode()
    return Commits(
        ids=table.column(ID_COLUMN).to_numpy(),
        places=stems.indices.to_numpy().astype(np.int32),
        stems=tuple(stems.dictionary.to_pylist()),
    )


def _together(parts: list[Commits]) -> Commits:
    shifts = np.cumsum([0, *(len(part.stems) for part in parts)])
    places = [part.places + np.int32(shift) for part, shift in zip(parts, shifts[:-1], strict=True)]
    return Commits(
        ids=np.concatenate([part.ids for part in parts]),
        places=np.concatenate(places),
        stems=tuple(stem for part in parts for stem in part.stems),
    )


def _packed(commits: Commits) -> Commits:
    """Without stems that have no row."""
    used, places = np.unique(commits.places, return_inverse=True)
    stems = tuple(commits.stems[place] for place in used)
    return replace(commits, places=places.astype(np.int32), stems=stems)


def _delete(filesystem: FileSystem, paths: list[str]) -> None:
    def delete(path: str) -> None:
        try:
            filesystem.delete_file(path)
        except FileNotFoundError:
            return  # a writer that outlived its run was quicker

    with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
        list(threads.map(delete, paths))


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _stem(path: str) -> str:
    return _name(path).removesuffix(".parquet")
