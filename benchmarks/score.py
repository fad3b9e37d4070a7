"""Bulk scoring against what its parts can do alone, and against the recipe that Ray's documentation gives.

Draws a phantom export (full-size objects of all transfer syntaxes), builds a bundle of two networks (ImageNet's at
128 px, a small one at 64 px, heads are random) and measures in one run: decoding and
cleaning alone and the forward passes alone, each by one process a core; `run_score` on the whole archive; the recipe
(`read_binary_files`, pydicom, resize, the same networks in `map_batches`, `write_parquet`).

Each object lies there so many times (`--copies`) that starts weigh little. The forward passes are measured in bfloat16
too, beside what that changes.

python benchmarks/score.py --output FOLDER [--images 400] [--copies 6] [--side-px 2048]
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
import torch
from common import print_results, result

from radray import cluster, storage
from radray.archive import fetch
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.ensemble.bundle import Precision
from radray.ensemble.features import encode, normalise
from radray.ensemble.folder import read_bundle
from radray.errors import Status
from radray.images.prepare import prepare_image
from radray.index.config import IndexConfig
from radray.index.stage import run_index
from radray.phantom.config import PhantomConfig
from radray.phantom.export import write_phantom
from radray.pretrain.backbone import Backbone
from radray.pretrain.run import load_network
from radray.regions import load_regions
from radray.score.config import ScoreConfig
from radray.score.stage import run_score

SIDE = 128
BATCH = 32
CORES = os.cpu_count() or 1
Pixels = npt.NDArray[np.uint8]


def build_bundle(url: str) -> None:
    """A bundle of two networks with random heads."""
    torch.manual_seed(0)
    regions = load_regions("skeletal14")
    backbones = {"imagenet": load_network("imagenet").backbone, "simclr": Backbone("resnet10", 64).eval()}
    members = [
        Member(
            method=method,
            backbone=backbone,
            mean=torch.zeros(backbone.dimension),
            scale=torch.full((backbone.dimension,), 0.05),
            weight=torch.randn(len(regions), backbone.dimension) * 0.1,
            bias=torch.zeros(len(regions)),
            own_head=False,
            bank=torch.nn.functional.normalize(torch.randn(5000, backbone.dimension), dim=1),
            distances=torch.linspace(0, 1, 1000),
            temperature=1.0,
            share=1 / len(backbones),
            run_digest="none",
        )
        for method, backbone in backbones.items()
    ]
    Bundle(
        regions=regions,
        cleaning=CleaningConfig(side_px=SIDE),
        members=members,
        temperature=1.0,
        ood_reference=torch.linspace(0, 1, 1000),
        confidence_thresholds=(0.1,) * len(regions),
        ood_threshold=1.0,
    ).save(url)


def alone() -> None:
    """One thread in a process of the pool."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def clean_some(uris: Sequence[str]) -> list[bytes]:
    """Fetch, decode and clean; what cannot be used is left out."""
    found = [prepare_image(fetch(uri), CleaningConfig(side_px=SIDE)) for uri in uris]
    return [image["image"] for image in found if image["status"] == Status.OK.value]


def predict_some(url: str, precision: Precision, images: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Forward passes of all members; the probabilities."""
    bundle = _bundle(url, precision)
    pixels = np.stack([np.frombuffer(one, np.uint8).reshape(SIDE, SIDE) for one in images])
    return bundle.predict(pixels).probabilities


@cache
def _bundle(url: str, precision: Precision) -> Bundle:
    bundle = Bundle.load(url, device="cpu", precision=precision)
    bundle.predict(np.zeros((BATCH, SIDE, SIDE), np.uint8))
    return bundle


def timed(pool: ProcessPoolExecutor, work: Callable[[Any], Any], parts: Sequence[Any]) -> tuple[list[Any], float]:
    """Results of all parts, and the seconds that they took once every process was warm."""
    list(pool.map(work, [parts[0]] * (2 * CORES)))
    started = time.monotonic()
    found = list(pool.map(work, parts))
    return found, time.monotonic() - started


def copy_objects(archive: Path, copies: int) -> None:
    """Have every object there so many times, under other names, without taking more of the disk."""
    for path in [path for path in archive.rglob("*") if path.is_file()]:
        for number in range(1, copies):
            os.link(path, path.with_name(f"{path.name}.{number}"))


def split(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + BATCH] for start in range(0, len(values), BATCH)]


class Recipe:
    """The networks as an actor of `map_batches`."""

    def __init__(self, url: str) -> None:
        torch.set_num_threads(1)
        bundle = read_bundle(url)  # as it is: `Bundle.load` would also tune the process's memory
        self._views = bundle.views
        self._members = [(member.backbone.eval(), member.weight) for member in bundle.members]

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = torch.from_numpy(np.stack(batch["image"]).copy())
        features = [(encode(network, images, self._views), weight) for network, weight in self._members]
        votes = [torch.softmax(normalise(own) @ weight.T, dim=1) for own, weight in features]
        return {"path": batch["path"], "region": torch.stack(votes).mean(dim=0).argmax(dim=1).numpy()}


def decode_by_pydicom(row: dict[str, Any]) -> dict[str, Any]:
    """The whole image by pydicom, stretched to 0 to 255 and resized; black where pydicom cannot read it."""
    import pydicom

    image = np.zeros((SIDE, SIDE), np.uint8)
    try:
        pixels = pydicom.dcmread(io.BytesIO(row["bytes"]), force=True).pixel_array
        grey = np.asarray(pixels if pixels.ndim == 2 else pixels[..., 0], np.float32)
        grey = (grey - grey.min()) / max(float(grey.max() - grey.min()), 1.0)
        image = np.asarray(255 * cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    except Exception:  # a recipe stops at the first bad object otherwise
        pass
    return {"path": row["path"], "image": image}


def run_recipe(uris: Sequence[str], bundle: str, output: str) -> float:
    """Seconds of the documented recipe, on a cluster that is there."""
    started = time.monotonic()
    rows = ray.data.read_binary_files(list(uris), include_paths=True).map(decode_by_pydicom)
    rows.map_batches(
        Recipe, fn_constructor_args=(bundle,), batch_size=BATCH, compute=ray.data.ActorPoolStrategy(size=CORES)
    ).write_parquet(output)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--side-px", type=int, default=2048)
    given = parser.parse_args()
    place = given.output.resolve()
    archive, index, bundle = (str(place / name) for name in ("archive", "index", "bundle"))
    os.environ.setdefault("RADRAY_PATIENT_KEY", "0123456789abcdef" * 2)
    write_phantom(PhantomConfig(output=archive, images=given.images, side_px=given.side_px, seed=5, workers=0))
    drawn = set(str(path) for path in Path(archive).rglob("*"))
    copy_objects(Path(archive), given.copies)
    cluster.connect()
    run_index(IndexConfig(archive=archive, output=index))
    build_bundle(bundle)
    listed = storage.read_table(index, columns=["uri", "status"])
    uris = listed["uri"].to_pylist()
    usable = listed.filter(pa.compute.equal(listed["status"], Status.OK.value))["uri"].to_pylist()
    once = [uri for uri in usable if uri in drawn]

    with ProcessPoolExecutor(CORES, get_context("spawn"), initializer=alone) as pool:
        cleaned, clean_s = timed(pool, clean_some, split(once))
        images = [image for part in cleaned for image in part]
        whole, forward_s = timed(pool, partial(predict_some, bundle, "float32"), split(images))
        half, half_s = timed(pool, partial(predict_some, bundle, "bfloat16"), split(images))
    changed = np.abs(np.concatenate(half) - np.concatenate(whole)).max()
    output = str(place / f"predictions-{time.time_ns()}")
    started = time.monotonic()
    summary = run_score(ScoreConfig(index=index, bundle=bundle, output=output))
    score_s = time.monotonic() - started
    recipe_s = run_recipe(uris, bundle, str(place / f"recipe-{time.time_ns()}"))

    bound = len(images) / (clean_s + forward_s)
    scored = summary["by_status"][Status.OK.value]
    own = scored / score_s
    print(f"{len(uris):,} objects of {given.side_px} px at most, {scored:,} radiographs, {CORES} cores")
    for name, rate in (
        ("decode and clean alone", len(images) / clean_s),
        ("forward passes alone", len(images) / forward_s),
        ("the same in bfloat16", len(images) / half_s),
        ("bound of both", bound),
        ("score, with start and commit", own),
        ("the recipe of Ray's documentation", scored / recipe_s),
    ):
        print(f"{name:<36}{rate:8.1f} radiographs/s")
    print(f"rows {summary['rows_out']:,}, {summary['by_status']}")
    results = {
        "share of the bound": result(round(own / bound, 3), 0.85, round(bound, 1)),
        "over the recipe": result(round(recipe_s / score_s, 2), 3.0, round(scored / recipe_s, 1)),
        "radiographs/s": result(round(own, 1)),
        "bfloat16 over float32, forward passes": result(round(forward_s / half_s, 2)),
        "largest change of a probability by bfloat16": result(round(float(changed), 4)),
        "load average": result(round(os.getloadavg()[1], 1)),
    }
    print_results("score", ("torch", "ray", "pydicom"), results)


if __name__ == "__main__":
    main()
