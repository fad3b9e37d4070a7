"""The archive is only read: folders for copies and reports lie apart from it, whichever way they are named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import reduce

import pyarrow.compute as pc

from radray import storage
from radray.archive.tables import is_table
from radray.errors import ConfigError
from radray.index.manifest import listed_archive
from radray.relabel.config import RelabelConfig
from radray.score.versions import latest_predictions

_MEMBER = r"(?is)^(.+?\.zip)::.+$"
"""A zip file and a member of it (`radray.archive.members`)."""
_NAME = r"(?s)/[^/]*$"


def check_outside_archive(config: RelabelConfig) -> None:
    """Refuse folders for copies and reports that lie inside the archive, or that the archive lies inside of.

    The archive is the one that the listing beside the predictions or the index names. Where it is a table of objects,
    their folders stand for it; where no listing is there, so does the deepest folder that holds them all.

    Raises:
        ConfigError: Such a folder was given.
    """
    given = {"--copies": config.copies, "--sr": config.sr}
    folders = {option: _resolved(url) for option, url in given.items() if url is not None}
    if not folders:
        return
    predicted = latest_predictions(config.predictions)
    archives = [found for place in (predicted, config.index) if place is not None and (found := listed_archive(place))]
    for archive in archives:
        _refuse(folders, archive)
    if archives and not any(is_table(archive) for archive in archives):
        return
    common = None if archives else reduce(_common_folder, _object_folders(predicted, config.index), None)
    for folder in [common] if common else _object_folders(predicted, config.index):
        _refuse(folders, folder, "; or give --index, which knows the archive" if common else "")


def _refuse(folders: dict[str, str], archive: str, way_out: str = "") -> None:
    archive = _resolved(archive)
    for option, folder in folders.items():
        if _lies_in(folder, archive):
            where = f"lies inside {archive}, which holds objects of the archive"
        elif _lies_in(archive, folder):
            where = f"holds objects of the archive ({archive})"
        else:
            continue
        raise ConfigError(f"{option} {folder} {where}, which is never written to; choose another folder{way_out}")


def _lies_in(url: str, folder: str) -> bool:
    return f"{url}/".startswith(folder.rstrip("/") + "/")


def _resolved(url: str) -> str:
    """One name for each folder: links followed, `..` gone, `s3a://` called `s3://`."""
    url = storage.normalise_url(url)
    if "://" not in url:
        return os.path.realpath(url)
    return url.replace("s3a://", "s3://", 1)


def _object_folders(predicted: str, index: str | None) -> Iterator[str]:
    """Folders that objects lie in, some of them several times; keyed hashes have none."""
    for file in storage.list_files(index or predicted, ".parquet"):
        urls = storage.read_table(file, columns=["uri"])["uri"].combine_chunks()
        urls = pc.replace_substring_regex(urls, _MEMBER, r"\1")
        urls = urls.filter(pc.match_substring(urls, "/"))
        folders = pc.replace_substring_regex(urls, _NAME, "")
        yield from (folder or "/" for folder in pc.unique(folders).to_pylist())


def _common_folder(one: str | None, other: str) -> str:
    """The deepest folder that both lie in; empty where that is a whole file system or no store at all."""
    if one is None:
        return other
    shared = []
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left != right:
            break
        shared.append(left)
    least = 3 if "://" in one else 2
    return "/".join(shared) if len(shared) >= least else ""
