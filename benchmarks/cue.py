"""A lead shape that goes with the region in training: how far does a network read it, with and without gauge views?

Radiographs of the phantom are drawn and cleaned. Into those of training patients the phantom's cue (a small lead shape,
nearly one a region) is drawn after cleaning, which would cut many away: here it is the views that are tried. One
network is trained per setting, a linear probe is fitted to its features of the training images, and measured on the
same test images, once without cue, once with a cue that goes with another region:
  clean   trained without cue, no gauges in the views: what could be reached
  off     trained with the cue, no gauges in the views
  on      trained with the cue, gauges in the views (synthetic ones and markers found in the images): the default
The part of the drop (clean − off) that `on` wins back is the result. The default views crop and cover so much that the
cue may do no harm even without gauges; `--gentle` takes that away.

python benchmarks/cue.py [--images 1200] [--gentle] [--picture cue.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from common import print_results, result
from numpy.typing import NDArray
from PIL import Image

from radray.cleaning.config import CleaningConfig
from radray.images.prepare import prepare_image
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.hardware import CUES, draw_cue
from radray.phantom.plan import Planned, plan_archive
from radray.pretrain.backbone import Backbone
from radray.pretrain.loop import build_method, total_steps, train
from radray.pretrain.monitor import Monitor
from radray.pretrain.recipes import Recipe, cpu_demo
from radray.pretrain.samples import TrainingSet
from radray.regions import load_regions
from radray.views.gauge import GaugeLibrary, harvest_gauges, synthetic_gauges

SIDE = 64
NAMES = load_regions("skeletal14").names
GOAL, LEAST_DROP = 0.8, 0.02


def draw(planned: Planned, config: PhantomConfig) -> NDArray[np.uint8] | None:
    """One cleaned image without cue, or None where cleaning set it aside."""
    body, _ = draw_object(dataclasses.replace(planned, cue=""), config)
    row = prepare_image(body, CleaningConfig(side_px=SIDE))
    return None if row["image"] is None else np.frombuffer(row["image"], np.uint8).reshape(SIDE, SIDE)


def add_cue(image: NDArray[np.uint8], cue: str, seed: int) -> NDArray[np.uint8]:
    grey = image.astype(np.float32) / 255
    if cue:
        draw_cue(grey, cue, np.random.default_rng(seed))
    return (grey.clip(0, 1) * 255).astype(np.uint8)


def other_cue(region: str, seed: int) -> str:
    """A cue that goes with other regions."""
    return CUES[(NAMES.index(region) + 1 + seed % (len(CUES) - 1)) % len(CUES)]


def fit(
    method: str, images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe, gauges: GaugeLibrary, seed: int
) -> Backbone:
    data = TrainingSet(images, labels, [""] * len(images), NAMES)
    network = build_method(method, recipe, len(NAMES), seed)
    steps = total_steps(recipe, len(images), method, few_labels=False)
    device = torch.device("cpu")
    train(network, data, recipe, seed=seed, steps=steps, device=device, title=method, gauges=gauges)
    return network.backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--methods", nargs="+", default=["simclr", "supervised"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--gentle", action="store_true", help="views that neither crop nor cover: cues stay in sight")
    parser.add_argument("--picture", help="where to draw images with cues")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = PhantomConfig(
        output="unused",
        images=given.images,
        side_px=384,
        spurious_cue=0.9,
        out_of_domain=0,
        broken=0,
        test_patients=0.3,
    )
    plan = plan_archive(config)
    with ProcessPoolExecutor(given.threads) as pool:
        drawn = list(pool.map(partial(draw, config=config), plan, chunksize=16))
    train_rows, test_rows = (
        [n for n, one in enumerate(plan) if drawn[n] is not None and one.patient.part == part]
        for part in ("train", "test")
    )
    labels, test_labels = (
        np.array([NAMES.index(plan[n].region) for n in rows], np.int64) for rows in (train_rows, test_rows)
    )
    plain, test_images = (np.stack([drawn[n] for n in rows]) for rows in (train_rows, test_rows))  # type: ignore[misc]
    cued = np.stack([add_cue(image, plan[n].cue, n) for image, n in zip(plain, train_rows, strict=True)])
    misled = np.stack(
        [add_cue(image, other_cue(plan[n].region, n), n) for image, n in zip(test_images, test_rows, strict=True)]
    )
    print(f"{len(plain)} training images, {sum(bool(plan[n].cue) for n in train_rows)} with a cue; "
          f"{len(test_images)} test images without")  # fmt: skip
    if given.picture:
        Image.fromarray(np.vstack([np.hstack(cued[row : row + 12]) for row in range(0, 72, 12)])).save(given.picture)

    recipe = dataclasses.replace(cpu_demo(), study_mates=0.0, monitor_epochs=0.0)
    if given.gentle:
        weak = dataclasses.replace(recipe.views, crop_area=(0.95, 1.0), scale=(0.95, 1.1), cutout=0.0, collimation=0.0)
        recipe = dataclasses.replace(recipe, views=weak)
    bare = dataclasses.replace(recipe, views=dataclasses.replace(recipe.views, gauges=0))
    synthetic = synthetic_gauges(SIDE)
    grown = synthetic.join(GaugeLibrary.of(**harvest_gauges(cued)))
    print(f"{len(grown.grey) - len(synthetic.grey)} gauges from the images, {len(synthetic.grey)} synthetic ones")
    tests = {"without cue": test_images, "with another region's": misled}
    results = {}
    print(f"{'accuracy on test images':<40}{'clean':>8}{'off':>8}{'on':>8}{'won back':>10}")
    for method in given.methods:
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(given.seeds):
            for setting, images, how in (("clean", plain, bare), ("off", cued, bare), ("on", cued, recipe)):
                backbone = fit(method, images, labels, how, grown, seed)
                for kind, queries in tests.items():
                    judge = Monitor(
                        regions=len(NAMES),
                        bank=images,
                        bank_labels=labels,
                        queries=queries,
                        query_labels=test_labels,
                    )
                    found.setdefault((kind, setting), []).append(judge(backbone)["linear_accuracy"])
        for kind in tests:
            clean, off, on = (float(np.mean(found[kind, setting])) for setting in ("clean", "off", "on"))
            # Where the cue does no harm there is nothing to win back.
            back = (on - off) / (clean - off) if clean - off >= LEAST_DROP else None
            share = "no drop" if back is None else f"{back:.0%}"
            print(f"{f'{method}, {kind}':<40}{clean:>8.3f}{off:>8.3f}{on:>8.3f}{share:>10}", flush=True)
            results[f"{method}, {kind}: drop without gauges"] = result(round(clean - off, 4), baseline=round(clean, 4))
            won = f"{method}, {kind}: share of the drop won back"
            nothing = {"value": None, "goal": GOAL, "baseline": round(off, 4), "met": None}
            results[won] = nothing if back is None else result(round(back, 3), GOAL, round(off, 4))
    print_results("cue", ("torch", "lightly"), results)


if __name__ == "__main__":
    main()
