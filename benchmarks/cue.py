"""A lead shape that goes with the region in training: how far does a network read it, with and without gauge views?

A phantom whose training patients carry a cue (a small lead shape, nearly one a region) is drawn three times: with the
cue, and once more without any for training and for testing. One network is trained per setting, a linear probe is
fitted to its features of the training images, and measured on the same test images, which carry no cue:
  clean   trained without cue, no gauges in the views: what could be reached
  off     trained with the cue, no gauges in the views
  on      trained with the cue, gauges in the views (synthetic ones and markers found in the images): the default
The part of the drop (clean − off) that `on` wins back is the result. Fields are not cropped, so that no cue is lost.

python benchmarks/cue.py [--images 1200] [--epochs 20]
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

from radray.cleaning.config import CleaningConfig
from radray.images.prepare import prepare_image
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import Planned, plan_archive
from radray.pretrain.backbone import Backbone
from radray.pretrain.loop import build_method, total_steps, train
from radray.pretrain.monitor import Monitor
from radray.pretrain.recipes import Recipe, cpu_demo
from radray.pretrain.samples import TrainingSet
from radray.regions import load_regions
from radray.views.gauge import GaugeLibrary, harvest_gauges, synthetic_gauges

SIDE = 96
NAMES = load_regions("skeletal14").names
GOAL, LEAST_DROP = 0.8, 0.02


def draw(planned: Planned, config: PhantomConfig) -> NDArray[np.uint8] | None:
    """One cleaned image, or None where cleaning set it aside."""
    body, _ = draw_object(planned, config)
    # Cleaning alone would cut most cues away, and here it is the views that are tried.
    cleaning = CleaningConfig(side_px=SIDE, crop_borders=False, crop_field=False, crop_anatomy=False)
    row = prepare_image(body, cleaning)
    return None if row["image"] is None else np.frombuffer(row["image"], np.uint8).reshape(SIDE, SIDE)


def draw_all(planned: list[Planned], config: PhantomConfig, workers: int) -> list[NDArray[np.uint8] | None]:
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(partial(draw, config=config), planned, chunksize=16))


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
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--methods", nargs="+", default=["simclr", "supervised"])
    parser.add_argument("--seeds", type=int, default=2)
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
    cued = plan_archive(config)
    plain = [dataclasses.replace(one, cue="") for one in cued]
    drawn = {name: draw_all(plan, config, given.threads) for name, plan in (("cued", cued), ("plain", plain))}
    whole = [all(pictures[number] is not None for pictures in drawn.values()) for number in range(len(cued))]
    rows = {
        part: [n for n, one in enumerate(cued) if whole[n] and one.patient.part == part] for part in ("train", "test")
    }
    labels = {part: np.array([NAMES.index(cued[n].region) for n in own], np.int64) for part, own in rows.items()}
    images = {
        name: {part: np.stack([pictures[n] for n in own]) for part, own in rows.items()}
        for name, pictures in drawn.items()
    }
    print(f"{len(rows['train'])} training images, {sum(bool(cued[n].cue) for n in rows['train'])} with a cue; "
          f"{len(rows['test'])} test images without")  # fmt: skip

    recipe = cpu_demo().override(epochs=given.epochs, study_mates=0.0)
    bare = dataclasses.replace(recipe, views=dataclasses.replace(recipe.views, gauges=0))
    synthetic = synthetic_gauges(SIDE)
    grown = synthetic.join(GaugeLibrary.of(**harvest_gauges(images["cued"]["train"])))
    print(f"{len(grown.grey) - len(synthetic.grey)} gauges from the images, {len(synthetic.grey)} synthetic ones")
    results = {}
    print(f"{'accuracy on cue-free test images':<34}{'clean':>8}{'off':>8}{'on':>8}{'won back':>10}")
    for method in given.methods:
        found = {"clean": [], "off": [], "on": []}
        for seed in range(given.seeds):
            for setting, source, how in (("clean", "plain", bare), ("off", "cued", bare), ("on", "cued", recipe)):
                backbone = fit(method, images[source]["train"], labels["train"], how, grown, seed)
                judge = Monitor(
                    regions=len(NAMES),
                    bank=images[source]["train"],
                    bank_labels=labels["train"],
                    queries=images["plain"]["test"],
                    query_labels=labels["test"],
                )
                found[setting].append(judge(backbone)["linear_accuracy"])
        clean, off, on = (float(np.mean(found[setting])) for setting in ("clean", "off", "on"))
        # Where the cue does no harm there is nothing to win back.
        back = (on - off) / (clean - off) if clean - off >= LEAST_DROP else None
        share = "no drop" if back is None else f"{back:.0%}"
        print(f"{method:<34}{clean:>8.3f}{off:>8.3f}{on:>8.3f}{share:>10}", flush=True)
        results |= {
            f"{method}: drop without gauges": result(round(clean - off, 4), baseline=round(clean, 4)),
            f"{method}: share of the drop won back": {
                "value": None,
                "goal": GOAL,
                "baseline": round(off, 4),
                "met": None,
            }
            if back is None
            else result(round(back, 3), GOAL, round(off, 4)),
        }
    print_results("cue", ("torch", "lightly"), results)


if __name__ == "__main__":
    main()
