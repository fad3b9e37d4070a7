"""The training set on a machine's disk: pixels in a memory-mapped file that all its workers share."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from filelock import FileLock

from radray import storage
from radray.errors import ConfigError
from radray.images.reading import load_images
from radray.pretrain.loop import TrainingSet
from radray.pretrain.method import UNLABELLED

DIGEST_COLUMNS = ["row_id", "label", "split", "study_instance_uid", "content_hash"]
SPLITS = ("train",)
"""Splits that pre-training sees; validation and test images stay unseen by every method."""


def table_digest(images_url: str) -> str:
    """BLAKE2b of what training depends on: rows, labels, splits, studies and pixels of an images table."""
    table = storage.read_table(images_url, columns=DIGEST_COLUMNS, filter=pc.field("status") == "ok").sort_by("row_id")
    digest = hashlib.blake2b(digest_size=16)
    for column in DIGEST_COLUMNS:
        digest.update(repr(table.column(column).to_pylist()).encode())
    return digest.hexdigest()


def open_training_set(images_url: str, digest: str) -> TrainingSet:
    """The train split of an images table, memory-mapped from this machine's cache.

    The first worker of a machine fills the cache (RADRAY_CACHE, or a folder in the system's temporary one).

    Raises:
        ConfigError: No training image is there.
    """
    folder = Path(os.environ.get("RADRAY_CACHE") or Path(tempfile.gettempdir()) / "radray-cache")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pixels, facts = folder / f"{digest}.npy", folder / f"{digest}.parquet"
    with FileLock(str(folder / f"{digest}.lock")):
        if not facts.exists():
            loaded = load_images(
                images_url, columns=["uri", "label", "study_instance_uid"], splits=SPLITS, memory_map=pixels
            )
            if isinstance(loaded.images, np.memmap):
                loaded.images.flush()
            parquet.write_table(loaded.facts, facts)
    table = parquet.read_table(facts)
    names = table.column("label").to_pylist()
    regions = tuple(sorted({name for name in names if name}))
    index = {name: number for number, name in enumerate(regions)}
    studies = table.column("study_instance_uid").combine_chunks().dictionary_encode().indices
    return TrainingSet(
        images=np.load(pixels, mmap_mode="r"),
        labels=np.array([index[name] if name else UNLABELLED for name in names], np.int64),
        uris=table.column("uri").to_pylist(),
        regions=regions,
        studies=studies.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64),
    )


def require_trainable(data: TrainingSet, method: str, needs_labels: bool) -> None:
    """Refuse data that a method cannot learn from.

    Raises:
        ConfigError: No labels for a method that needs them, or only one region.
    """
    labelled: Any = data.labels[data.labels != UNLABELLED]
    if needs_labels and not len(labelled):
        raise ConfigError(
            f"{method} learns from labels, and no training image has one; index with --labels, or use byol"
        )
    if needs_labels and len(np.unique(labelled)) < 2:
        raise ConfigError(f"{method} needs at least two regions; all labels are {data.regions[0]!r}")
