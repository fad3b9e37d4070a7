"""Opening what a run trains on: images (cached on the machine's disk, or streamed), gauges, images to monitor with."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from filelock import FileLock

from radray import storage
from radray.errors import ConfigError, Status
from radray.images.places import find_places
from radray.images.reading import load_images
from radray.images.split import TRAIN, VALIDATION
from radray.pretrain.method import UNLABELLED
from radray.pretrain.monitor import Monitor
from radray.pretrain.samples import Pixels, Rows, Samples, TrainingSet
from radray.views.gauge import GaugeLibrary, harvest_gauges, synthetic_gauges

SPLITS = (TRAIN,)
"""Splits that pre-training sees; validation and test images stay unseen by every method."""
DISK_SHARE = 0.8
"""Share of the free disk that the cache of a table may take."""
GAUGES = 2
"""Version of the way markers are cut out: what an older one left in a cache is not used."""
GAUGE_IMAGES, MONITOR_BANK, MONITOR_QUERIES = 2000, 1000, 500
"""Most images that are searched for markers, and that the monitor compares with and asks about."""


def cache_folder() -> Path:
    """Where this machine keeps tables for training: RADRAY_CACHE, or a folder in the system's temporary one.

    Raises:
        ConfigError: The folder in the temporary one is somebody else's.
    """
    own = Path(tempfile.gettempdir()) / f"radray-cache-{os.getuid()}"
    folder = Path(os.environ.get("RADRAY_CACHE") or own)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder == own and (folder.stat().st_uid != os.getuid() or folder.is_symlink()):
        raise ConfigError(f"{folder} belongs to somebody else; set RADRAY_CACHE to a folder of your own")
    return folder


def fits_on_disk(images_url: str, digest: str) -> bool:
    """Whether the pixels of a table's training images are, or fit, in the cache folder of this machine."""
    if _is_cached(digest):
        return True
    usable = (pc.field("status") == Status.OK.value) & pc.field("split").isin(list(SPLITS))
    sides = storage.read_table(images_url, columns=["side_px"], filter=usable)["side_px"]
    needed = int(pc.sum(pc.power(sides.cast("int64"), 2)).as_py() or 0)
    return needed < DISK_SHARE * shutil.disk_usage(cache_folder()).free


def open_training_set(images_url: str, digest: str, source: str) -> Samples:
    """The train split of an images table.

    Args:
        images_url: The table.
        digest: Of it (`table_digest`).
        source: `cache`: memory-mapped from this machine's disk, which its first worker fills; `stream`: read in order
            by Ray Data while training.

    Raises:
        ConfigError: No training image is there.
    """
    if source == "stream":
        from radray.pretrain.stream import StreamedSet

        return StreamedSet(find_places(images_url, SPLITS))
    return _open_cached(images_url, digest)


def _cache_files(digest: str) -> tuple[Path, Path]:
    return cache_folder() / f"{digest}.npy", cache_folder() / f"{digest}.parquet"


def _is_cached(digest: str) -> bool:
    return all(file.exists() for file in _cache_files(digest))


def _open_cached(images_url: str, digest: str) -> TrainingSet:
    pixels, facts = _cache_files(digest)
    with _lock(digest):
        if not _is_cached(digest):
            loaded = load_images(
                images_url, columns=["uri", "label", "study_instance_uid"], splits=SPLITS, memory_map=pixels
            )
            if isinstance(loaded.images, np.memmap):
                loaded.images.flush()
            # Written last and moved into place: where it is, the pixels are whole.
            parquet.write_table(loaded.facts, facts.with_suffix(".part"))
            facts.with_suffix(".part").rename(facts)
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


def open_gauges(data: Samples, digest: str, from_archive: bool, seed: int) -> GaugeLibrary:
    """Synthetic gauges, and as many of the markers found in the training images as there are, up to their number.

    Args:
        data: The training set.
        digest: Of its table; what was found is kept in the cache folder.
        from_archive: Whether to look for markers.
        seed: Draws the synthetic ones.
    """
    drawn = synthetic_gauges(data.side_px, seed=seed)
    if not from_archive:
        return drawn
    kept = _kept(f"{digest}-gauges-{GAUGES}", lambda: harvest_gauges(_read_spread(data, GAUGE_IMAGES)[1]))
    return drawn.join(GaugeLibrary.of(**kept))


def open_monitor(images_url: str, data: Samples, digest: str) -> Monitor | None:
    """Labelled training images and validation images of an images table; None where either is missing."""

    def read() -> dict[str, Any]:
        labelled = np.flatnonzero(data.labels != UNLABELLED)
        rows, bank = _read_spread(data, MONITOR_BANK, labelled)
        try:
            places = find_places(images_url, (VALIDATION,))
        except ConfigError:
            return {"bank": bank, "bank_labels": data.labels[rows], "queries": bank[:0], "query_labels": rows[:0]}
        known = {name: number for number, name in enumerate(data.regions)}
        numbers = np.array([known.get(name, UNLABELLED) for name in places.regions] + [UNLABELLED], np.int64)
        labels = numbers[places.labels]
        asked = places.spread(np.flatnonzero(labels != UNLABELLED), MONITOR_QUERIES)
        return {
            "bank": bank,
            "bank_labels": data.labels[rows],
            "queries": places.read(asked),
            "query_labels": labels[asked],
        }

    kept = _kept(f"{digest}-monitor", read)
    if not len(kept["bank"]) or not len(kept["queries"]) or len(np.unique(kept["bank_labels"])) < 2:
        return None
    return Monitor(regions=len(data.regions), **kept)


def _read_spread(data: Samples, most: int, rows: Rows | None = None) -> tuple[Rows, Pixels]:
    """Up to `most` of some rows (of all where not given), spread over the table, and their pixels."""
    chosen = data.spread(np.arange(len(data)) if rows is None else rows, most)
    return chosen, data.read(chosen)


def _lock(name: str) -> FileLock:
    return FileLock(str(cache_folder() / f"{name}.lock"))


def _kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Arrays from this machine's cache; the first worker that wants them makes them."""
    file = cache_folder() / f"{name}.npz"
    with _lock(name):
        if not file.exists():
            part = file.with_suffix(".part.npz")
            np.savez(part, **make())
            part.rename(file)
    with np.load(file) as arrays:
        return dict(arrays)


def require_trainable(data: Samples, method: str, needs_labels: bool) -> None:
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
