"""Embed once: features of every image by every network, in Parquet tables that no later run makes again.

features/<key>/part-*.parquet   row_id, uri and one column of float16 vectors a network, null where not wanted
features/<key>/networks.json    column → key of the network: its digest, views, cleaning, version, the rows wanted
features/members.json           method → folder, column, digest of the run, whether it saw labels: of the newest probe

One Ray Data pass reads each image once and embeds it by all networks that have no features yet, exactly once and
resumable. A new network gets a folder of its own; new images join the folders that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage, streaming
from radray.checkpoints import ID_COLUMN
from radray.errors import ConfigError, Status
from radray.images.reading import CLEANING_FILE
from radray.pretrain.run import Run
from radray.probe.config import ProbeConfig
from radray.probe.embed_rows import EmbedRows
from radray.version import __version__

HalfArray = npt.NDArray[np.float16]
Ids = npt.NDArray[np.int64]
NETWORKS_FILE = "networks.json"
MEMBERS_FILE = "members.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to embed images with."""

    name: str
    """Its column: the method, and the budget and seed of a few-label network."""
    run: Run
    wanted_ids: Ids | None = None
    """Sorted row ids of the images wanted; None for all."""

    def key(self, context: str) -> str:
        """What the features depend on, beside the images: `context` stands for views and cleaning."""
        digest = hashlib.blake2b(f"{_FORMAT}/{self.run.digest}/{context}".encode(), digest_size=16)
        if self.wanted_ids is not None:
            digest.update(self.wanted_ids.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One network's features of a table's images, to be read when they are wanted."""

    folder: str
    column: str

    def read(self, row_ids: Ids, *, gaps: bool = False) -> HalfArray:
        """Float16[n, d] of the images with these ids, before normalisation, 0 where not wanted.

        Args:
            row_ids: Int64[n].
            gaps: Whether images may be missing from the tables: 0 too.

        Raises:
            RuntimeError: Images are missing and may not be.
        """
        return _read(self.folder, self.column, row_ids, gaps)


def write_members(output: str, found: Mapping[str, Stored], runs: Mapping[str, Run]) -> None:
    """Say beside the features where those of a probe's members are: members.json."""
    members = {
        method: {
            "folder": found[method].folder.rsplit("/", 1)[-1],
            "column": found[method].column,
            "run": run.digest,
            "saw_labels": run.budget != "none",
        }
        for method, run in runs.items()
    }
    storage.write_json(storage.join(output, "features", MEMBERS_FILE), members)


def find_members(output: str) -> dict[str, tuple[Stored, bool]]:
    """Method → its features, and whether its network saw labels; of the newest probe in `output`.

    Raises:
        ConfigError: There is no members.json.
    """
    place = storage.join(output, "features")
    if not storage.exists(storage.join(place, MEMBERS_FILE)):
        raise ConfigError(f"{output}: features/{MEMBERS_FILE} is missing there; run jobs/probe.py to its end first")
    return {
        method: (Stored(folder=storage.join(place, known["folder"]), column=known["column"]), known["saw_labels"])
        for method, known in storage.read_json(storage.join(place, MEMBERS_FILE)).items()
    }


def embed_networks(networks: Sequence[Network], row_ids: Ids, config: ProbeConfig) -> dict[str, Stored]:
    """Features of the usable images of a table, from the folders that hold them, else by one pass over the images.

    Args:
        networks: Their names differ.
        row_ids: Int64[n], the images and their order.
        config: Gives images, views, output and how to embed.

    Returns:
        Name → where its features are.
    """
    context = _context(config)
    wanted = {each.key(context): each for each in networks}
    place = storage.join(config.output, "features")
    found: dict[str, tuple[str, str]] = {}
    for folder, columns in _folders(place):
        mine = {key: column for column, key in columns.items() if key in wanted and key not in found}
        if not mine:
            continue
        if not _holds(folder, row_ids):
            if not set(columns.values()) <= set(wanted):
                continue  # Images have changed, and one of its networks is gone: it cannot be brought up to date.
            _embed({column: wanted[key] for column, key in columns.items()}, folder, config)
        found |= {key: (folder, column) for key, column in mine.items()}
    missing = {each.name: each for key, each in wanted.items() if key not in found}
    # Few-label networks change with every new image, for other draws of labels follow: they lie apart.
    for few in (False, True):
        group = {name: each for name, each in missing.items() if (each.wanted_ids is not None) == few}
        if not group:
            continue
        keys = {name: each.key(context) for name, each in group.items()}
        folder = storage.join(place, _digest(sorted(keys.items())))
        storage.write_json(storage.join(folder, NETWORKS_FILE), keys)
        _embed(group, folder, config)
        found |= {key: (folder, name) for name, key in keys.items()}
    return {each.name: Stored(folder=found[key][0], column=found[key][1]) for key, each in wanted.items()}


def _embed(networks: Mapping[str, Network], folder: str, config: ProbeConfig) -> None:
    wishes = {
        name: {
            "run": each.run.url,
            "digest": each.run.digest,
            "wanted_ids": each.wanted_ids,
        }
        for name, each in networks.items()
    }
    streaming.run(
        streaming.Pass(
            title=f"embed by {len(wishes)} network{'s' * (len(wishes) > 1)}",
            source=config.images,
            output=folder,
            key=folder.rsplit("/", 1)[-1],
            transform=EmbedRows,
            arguments={
                "networks": wishes,
                "views": config.views,
                "batch": config.batch,
                "device": "cuda" if config.gpus_per_worker else "cpu",
            },
            columns=["uri", "image", "side_px"],
            where=("status", Status.OK.value),
            rows_per_block=max(256, config.batch),
            gpus_per_worker=config.gpus_per_worker,
            max_workers=config.max_workers,
        )
    )


def _context(config: ProbeConfig) -> str:
    """What features depend on beside network and image: how images were cleaned, and the views averaged."""
    cleaning = storage.read_bytes(storage.join(config.images, CLEANING_FILE))
    return _digest([__version__, cleaning.decode(), storage.normalise_url(config.images), list(config.views)])


def _digest(document: Any) -> str:
    return hashlib.blake2b(json.dumps(document).encode(), digest_size=16).hexdigest()


def _folders(place: str) -> list[tuple[str, dict[str, str]]]:
    """Folders of features and what their columns hold, sorted by name."""
    files = [storage.join(folder, NETWORKS_FILE) for folder in storage.list_files(place)]
    return [(storage.parent(file), storage.read_json(file)) for file in files if storage.exists(file)]


def _holds(folder: str, row_ids: Ids) -> bool:
    """Whether every image asked for has its row there."""
    if not storage.list_files(folder, ".parquet"):
        return False
    ids = storage.read_table(folder, columns=[ID_COLUMN])[ID_COLUMN].to_numpy()
    return bool(np.isin(row_ids, ids).all())


def _read(folder: str, column: str, row_ids: Ids, gaps: bool) -> HalfArray:
    table = storage.read_table(folder, columns=[ID_COLUMN, column])
    ids, vectors = table[ID_COLUMN].to_numpy(), table[column].combine_chunks()
    dimension = vectors.type.list_size
    order = np.argsort(ids)
    rows = order[np.searchsorted(ids, row_ids, sorter=order).clip(max=len(ids) - 1)]
    known = ids[rows] == row_ids
    if not gaps and not known.all():
        raise RuntimeError(f"{folder} does not hold every image; delete it and run the probe again")
    features = np.zeros((len(ids), dimension), np.float16)
    features[pc.is_valid(vectors).to_numpy(zero_copy_only=False)] = _values(vectors).reshape(-1, dimension)
    ordered: HalfArray = features[rows]
    ordered[~known] = 0
    return ordered


def _values(vectors: pa.FixedSizeListArray) -> HalfArray:
    """The values of those that are not null, one after the other."""
    values: HalfArray = vectors.flatten().to_numpy(zero_copy_only=False)
    return values
