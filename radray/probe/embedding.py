"""Embed once: features of the images by one run, kept as Parquet under a key of run, images and views."""

from __future__ import annotations

import hashlib
import sys
import time

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from radray import storage
from radray.ensemble.features import embed
from radray.images.reading import Radiographs
from radray.pretrain.run import Run

HalfArray = npt.NDArray[np.float16]
_KEY = b"radray_features_key"


def embed_images(run: Run, radiographs: Radiographs, place: str, views: tuple[str, ...], batch: int) -> HalfArray:
    """Features of every image, from the table at `place` where it has them, else computed and written there.

    Args:
        run: Gives the backbone.
        radiographs: n images and their facts (`uri`, `row_id`).
        place: URL of the Parquet file: uri, row_id, vector, backbone (the run's digest).
        views: See `radray.ensemble.features`.
        batch: Images computed together.

    Returns:
        Float16[n, d], before normalisation.
    """
    key = _features_key(run, radiographs, views)
    if storage.exists(place):
        found = storage.locate(place)
        if (parquet.read_schema(found.path, filesystem=found.arrow).metadata or {}).get(_KEY) == key:
            return _vectors(storage.read_table(place, columns=["vector"]))
    started = time.monotonic()
    features = compute(run, radiographs.images, views, batch)
    flat = pa.array(features.reshape(-1), pa.float16())
    table = pa.table(
        {
            "uri": radiographs.facts["uri"],
            "row_id": radiographs.facts["row_id"],
            "vector": pa.FixedSizeListArray.from_arrays(flat, features.shape[1]),
            "backbone": pa.array([run.digest] * len(features), pa.string()).dictionary_encode(),
        }
    )
    storage.write_table(place, table.replace_schema_metadata({_KEY: key}))
    rate = len(features) / (time.monotonic() - started)
    print(f"embed {place.rsplit('/', 1)[-1]}: {len(features):,} images · {rate:.0f} images/s", file=sys.stderr)
    return features


def compute(run: Run, images: npt.NDArray[np.uint8], views: tuple[str, ...], batch: int) -> HalfArray:
    """UInt8[n, side, side] to Float16[n, d], on a GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run.backbone.to(device)
    features = np.empty((len(images), run.backbone.dimension), np.float16)
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch].copy()).to(device)
        features[start : start + batch] = embed(run.backbone, pixels, views).half().cpu().numpy()
    return features


def _features_key(run: Run, radiographs: Radiographs, views: tuple[str, ...]) -> bytes:
    digest = hashlib.blake2b(f"{run.digest}/{','.join(views)}".encode(), digest_size=16)
    digest.update(images_digest(radiographs).encode())
    return digest.hexdigest().encode()


def images_digest(radiographs: Radiographs) -> str:
    """BLAKE2b of the pixels and keys of all images."""
    digest = hashlib.blake2b(np.ascontiguousarray(radiographs.images).data, digest_size=16)
    digest.update(radiographs.facts["row_id"].to_numpy().tobytes())
    return digest.hexdigest()


def _vectors(table: pa.Table) -> HalfArray:
    column = table["vector"].combine_chunks()
    values: HalfArray = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)
