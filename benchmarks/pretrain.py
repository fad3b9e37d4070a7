"""Speed of pre-training: the loop against its own bare step, and against Lightly's documented SimCLR recipe.

First, in one Ray Train worker, turn by turn: the whole loop (memory-mapped images, sampler, read-ahead, journal; not
the monitor) and the same step over batches that already lie in memory. Second, without Ray: Lightly's recipe (PIL
images, `SimCLRTransform` in a DataLoader, NT-Xent, SGD) against radray's loop with the same backbone, side, batch and
precision, and with radray's defaults (bf16 where it pays, channels last). Each figure is the median over the turns.
On a machine with a GPU the second part also tells the share of a step that goes into views and into waiting.

python benchmarks/pretrain.py [--backbone resnet18] [--side-px 128] [--batch 64]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import print_results, result
from lightly.loss import NTXentLoss
from lightly.transforms import SimCLRTransform
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from radray.pretrain import step
from radray.pretrain.backbone import Backbone
from radray.pretrain.journal import Journal
from radray.pretrain.loop import build_method, train
from radray.pretrain.optimiser import build_optimiser
from radray.pretrain.recipes import Recipe, cpu_small
from radray.pretrain.samples import Slice, TrainingSet
from radray.pretrain.simclr import SimCLR
from radray.views.augment import draw_views, render_views
from radray.views.gauge import synthetic_gauges

GOAL_LOOP, GOAL_SAME, GOAL_DEFAULT = 0.95, 1.0, 1.5
GOAL_VIEWS, GOAL_WAITING = 0.10, 0.05
STEPS = 8
"""Steps of a turn; the first two are not timed."""


def radiographs(count: int, side_px: int) -> TrainingSet:
    """Smooth random images: their content changes no speed."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, 8, 8), dtype=np.uint8)
    images = np.stack(
        [np.asarray(Image.fromarray(one).resize((side_px, side_px), Image.Resampling.BICUBIC)) for one in coarse]
    )
    return TrainingSet(images, np.arange(count) % 14, [str(n) for n in range(count)], tuple(str(n) for n in range(14)))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize()


class Turn:
    """Counts images from the third batch of a turn on."""

    def __init__(self, data: TrainingSet) -> None:
        self._data, self.started = data, 0.0
        self.labels, self.regions, self.side_px = data.labels, data.regions, data.side_px

    def __len__(self) -> int:
        return len(self._data)

    def batches(self, wanted: Slice) -> Iterator[Any]:
        for number, batch in enumerate(self._data.batches(wanted)):
            if number == 3:  # read ahead by one: the third batch is being trained on
                wait_for(device())
                self.started = time.perf_counter()
            yield batch


def loop_speed(data: TrainingSet, recipe: Recipe, half: bool, journal: Journal | None = None) -> float:
    """Images a second of radray's loop."""
    turn = Turn(data)
    method = build_method("simclr", recipe, len(data.regions), 0)
    with mock.patch.object(step, "bfloat16_pays", lambda place: half):
        train(
            method, turn, recipe, seed=0, steps=STEPS, device=device(), title="benchmark",  # type: ignore[arg-type]
            gauges=synthetic_gauges(data.side_px), log=journal.add if journal else None,
        )  # fmt: skip
    wait_for(device())
    return (STEPS - 2) * recipe.batch_size / (time.perf_counter() - turn.started)


def bare_speed(data: TrainingSet, recipe: Recipe, half: bool, *, without_views: bool = False) -> float:
    """Images a second of the same step over batches in memory; without views the first batch's are used again."""
    place = device()
    method = build_method("simclr", recipe, len(data.regions), 0).to(place).to(memory_format=torch.channels_last)
    optimiser, gauges = build_optimiser(method, recipe), synthetic_gauges(data.side_px).to(place)
    wanted = Slice(seed=0, position=0, end=STEPS * recipe.batch_size, batch=recipe.batch_size)
    batches = [torch.from_numpy(batch.pixels).to(place) for batch in data.batches(wanted)]
    method.train()
    views: list[torch.Tensor] = []
    started = 0.0
    for number, pixels in enumerate(batches):
        if number == 2:
            wait_for(place)
            started = time.perf_counter()
        if not views or not without_views:
            views = []
            for view in range(2):
                draws = draw_views(recipe.views, recipe.batch_size, len(gauges.grey), (0, number, view))
                rendered = render_views(pixels, draws, gauges, recipe.side_px)
                views.append(rendered.contiguous(memory_format=torch.channels_last))
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(place.type, torch.bfloat16, enabled=half):
            loss = method(views, torch.zeros(recipe.batch_size, dtype=torch.int64))
        loss.backward()
        nn.utils.clip_grad_norm_(method.parameters(), recipe.clip_norm)
        optimiser.step()
    wait_for(place)
    return (STEPS - 2) * recipe.batch_size / (time.perf_counter() - started)


def _turns(arguments: dict[str, Any]) -> dict[str, float]:
    """In a Ray Train worker: both by turns; medians."""
    torch.set_num_threads(arguments["threads"])
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "images.npy"
        made = radiographs(2048, arguments["recipe"].side_px)
        np.save(place, made.images)
        data = dataclasses.replace(made, images=np.load(place, mmap_mode="r"))
        recipe, half = arguments["recipe"], step.bfloat16_pays(device())
        ratios, speeds = [], []
        for turn in range(arguments["turns"]):
            first = bare_speed(data, recipe, half)
            own = loop_speed(data, recipe, half, Journal(f"{name}/{turn}"))
            second = bare_speed(data, recipe, half)
            ratios.append(own / ((first + second) / 2))
            speeds.append(own)
    return {"ratio": statistics.median(ratios), "images_per_s": statistics.median(speeds)}


def under_ray_train(recipe: Recipe, turns: int, threads: int) -> dict[str, float]:
    """What `_turns` found in a worker of Ray Train."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from radray import cluster

    cluster.connect()
    worker: Any = _turns
    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            worker,
            train_loop_config={"recipe": recipe, "turns": turns, "threads": threads},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=torch.cuda.is_available()),
            run_config=RunConfig(storage_path=folder),
        )
        outcome: Any = trainer.fit()
    found: dict[str, float] = outcome.return_value
    import ray

    ray.shutdown()
    return found


class Pictures(Dataset[Any]):
    """PIL images through Lightly's transform."""

    def __init__(self, images: NDArray[np.uint8], side_px: int) -> None:
        self._images = images
        self._transform = SimCLRTransform(input_size=side_px, normalize={"mean": [0.5], "std": [0.25]})

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Any:
        return self._transform(Image.fromarray(self._images[number]))


def lightly_speed(data: TrainingSet, recipe: Recipe, workers: int) -> float:
    """Images a second of Lightly's documented recipe (docs: examples, SimCLR), float32."""
    place = device()
    torch.manual_seed(0)
    pictures = Pictures(data.images, recipe.side_px)
    loader = DataLoader(pictures, batch_size=recipe.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    network = SimCLR(Backbone(recipe.backbone, recipe.side_px)).to(place)
    criterion = NTXentLoss()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.06)
    coming = iter(loader)
    started = 0.0
    for number in range(STEPS + 2):
        views = next(coming)
        if number == 4:
            wait_for(place)
            started = time.perf_counter()
        first, second = (network.projection(network.backbone(view.to(place))) for view in views)
        loss = criterion(first, second)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    wait_for(place)
    return (STEPS - 2) * recipe.batch_size / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side-px", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-ray", action="store_true", help="leave the first part out")
    given = parser.parse_args()
    threads = torch.get_num_threads()
    recipe = dataclasses.replace(
        cpu_small(), backbone=given.backbone, side_px=given.side_px, batch_size=given.batch, study_mates=0.0
    )
    results: dict[str, Any] = {}
    if not given.no_ray:
        found = under_ray_train(recipe, given.turns, threads)
        print(f"loop under Ray Train: {found['images_per_s']:.1f} images/s, {found['ratio']:.3f} of the bare step")
        results["loop over bare step"] = result(round(found["ratio"], 3), GOAL_LOOP)
    data = radiographs(2048, given.side_px)
    half = step.bfloat16_pays(device())
    kinds = {
        "Lightly, no workers": lambda: lightly_speed(data, recipe, 0),
        "Lightly, 2 workers": lambda: lightly_speed(data, recipe, 2),
        "radray, float32": lambda: loop_speed(data, recipe, False),
        "radray, defaults": lambda: loop_speed(data, recipe, half),
        "bare step, defaults": lambda: bare_speed(data, recipe, half),
        "bare step, without views": lambda: bare_speed(data, recipe, half, without_views=True),
    }
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(given.turns):
        for kind, measure in kinds.items():
            speeds[kind].append(measure())
    middle = {kind: statistics.median(own) for kind, own in speeds.items()}
    best = max(middle["Lightly, no workers"], middle["Lightly, 2 workers"])
    print(
        f"{f'SimCLR, {given.backbone}, {given.side_px} px, batch {given.batch}':<44}{'images/s':>10}{'of Lightly':>12}"
    )
    for kind, speed in middle.items():
        print(f"{kind:<44}{speed:>10.1f}{speed / best:>12.2f}")
    share = 1 - middle["bare step, defaults"] / middle["bare step, without views"]
    waiting = 1 - middle["radray, defaults"] / middle["bare step, defaults"]
    print(f"share of a step in views {share:.1%}; loop behind the bare step by {waiting:.1%}")
    on_gpu = device().type == "cuda"
    results |= {
        "same precision over Lightly": result(round(middle["radray, float32"] / best, 2), GOAL_SAME, round(best, 1)),
        "defaults over Lightly": result(round(middle["radray, defaults"] / best, 2), GOAL_DEFAULT, round(best, 1)),
        "share in views": result(round(share, 3), GOAL_VIEWS if on_gpu else None, least=False),
        "share waiting": result(round(waiting, 3), GOAL_WAITING if on_gpu else None, least=False),
    }
    print_results(
        "pretrain", ("torch", "torchvision", "lightly", "ray") if not given.no_ray else ("torch", "lightly"), results
    )


if __name__ == "__main__":
    main()
