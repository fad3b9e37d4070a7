"""The pre-training stage: the loop under Ray Train, its checkpoints, and the run folder it leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from radray import cluster, storage
from radray.errors import ConfigError
from radray.images.budgets import labelled_subset
from radray.pretrain.config import PretrainConfig
from radray.pretrain.data import (
    fits_on_disk,
    open_gauges,
    open_monitor,
    open_training_set,
    require_trainable,
    table_digest,
)
from radray.pretrain.journal import Follower, Journal, mlflow_tracker
from radray.pretrain.loop import State, build_method, total_steps, train
from radray.pretrain.method import UNLABELLED
from radray.pretrain.monitor import MONITORED, Monitor
from radray.pretrain.recipes import Recipe
from radray.pretrain.run import load_run, save_run
from radray.pretrain.samples import Samples
from radray.pretrain.weights import load_weights
from radray.views.gauge import GaugeLibrary

CHECKPOINTS = "checkpoints"
STATE_FILE = "state.pt"
STARTED_FILE = "started.json"
"""What a run is, written before its first step: nobody goes on from it with other settings or images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One network of a run: the main one, or one that sees few labels."""

    url: str
    budget: str
    """none, all, images a region (5) or a share (1%)."""
    seed: int

    def title(self, method: str) -> str:
        """What messages call it."""
        return f"{method}, {self.budget} labels, draw {self.seed}" if self.few_labels else method

    @property
    def few_labels(self) -> bool:
        """Whether it sees only some of the labels."""
        return self.budget not in ("none", "all")


def parts_of(config: PretrainConfig) -> Iterator[Part]:
    """The networks that a configuration asks for, the main one first."""
    whole = "all" if config.method in ("supcon", "supervised") else "none"
    yield Part(url=config.output, budget=whole, seed=config.seed)
    for budget in config.budgets:
        for seed in range(config.budget_seeds):
            yield Part(url=storage.join(config.output, "budgets", f"{budget}-seed{seed}"), budget=budget, seed=seed)


def run_pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train the networks of a run that are not finished yet.

    Raises:
        ConfigError: The folder holds a run of other settings or images, or the data cannot be learned from.
    """
    return run_all([config])[0]


def run_all(configs: Sequence[PretrainConfig]) -> list[dict[str, Any]]:
    """Train several runs one after the other in one group of workers, which starts once; a summary of each.

    Args:
        configs: At least one. `workers`, `min_workers`, `threads` and `mlflow` of the first hold for all; checkpoints
            lie in its folder.

    Raises:
        ConfigError: As `run_pretrain`.
    """
    digests = {images: table_digest(images) for images in {config.images for config in configs}}
    runs = [Identified(config, run_identity(config, digests[config.images])) for config in configs]
    waiting: list[Identified] = []
    for run in runs:
        if run.unfinished():
            waiting.append(run)
        else:
            print(f"{run.config.method}: finished already in {run.config.output}", file=sys.stderr)
    if waiting:
        tracker = mlflow_tracker(configs[0].mlflow, waiting[0].identity) if configs[0].mlflow else None
        for run in waiting:
            data = open_training_set(run.config.images, run.digest, run.source)
            require_trainable(data, run.config.method, needs_labels=run.config.method in ("supcon", "supervised"))
            # Weights that do not fit, sides that a network does not take: told before any worker starts.
            _build(run.config, run.config.settings(), len(data.regions), run.config.seed)
        cluster.connect()
        with Follower(
            {part.title(run.config.method): part.url for run in waiting for part in run.unfinished()},
            tracker,
        ):
            refusal = _fit(configs[0], waiting)
        if refusal is not None:
            raise ConfigError(refusal)
    return [_summarise(config) for config in configs]


def _summarise(config: PretrainConfig) -> dict[str, Any]:
    run = load_run(config.output)
    return {
        "method": run.method,
        "backbone": run.backbone.name,
        "digest": run.digest,
        "rows_in": run.document["samples"],
        "rows_out": run.document["samples"],
        "steps": run.document["steps"],
        "loss": run.document["loss"],
        "source": run.document["source"],
        "networks": len(list(parts_of(config))),
    } | {name: run.document[name] for name in ("knn_accuracy", "linear_accuracy") if name in run.document}


def run_identity(config: PretrainConfig, digest: str) -> dict[str, Any]:
    """What two runs must share to be the same run."""
    weights = (
        hashlib.blake2b(storage.read_bytes(config.weights), digest_size=16).hexdigest() if config.weights else None
    )
    return {
        "method": config.method,
        "recipe": json.loads(json.dumps(dataclasses.asdict(config.settings()))),
        "data_digest": digest,
        "weights_digest": weights,
        "run_seed": config.seed,
    }


@dataclasses.dataclass(frozen=True)
class Identified:
    """A run's configuration and what makes it this run."""

    config: PretrainConfig
    identity: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of its images."""
        return str(self.identity["data_digest"])

    @property
    def source(self) -> str:
        """Cache or stream. What `auto` chose at the start holds until the end: the two have different orders.

        Raises:
            ConfigError: The recipe wants study mates, which a stream has not.
        """
        place = storage.join(self.config.output, STARTED_FILE)
        if storage.exists(place):
            return str(storage.read_json(place)["source"])
        chosen = self.config.source
        if chosen == "auto":
            chosen = "cache" if fits_on_disk(self.config.images) else "stream"
        if chosen == "stream" and self.config.settings().study_mates:
            raise ConfigError("a streamed table has no second images of a study at hand; set --study-mates 0")
        storage.write_json(place, {**self.identity, "source": chosen})
        return chosen

    def unfinished(self) -> list[Part]:
        """Its networks that are still to be trained.

        Raises:
            ConfigError: One was made, or begun, with other settings or images.
        """
        self._require_same(storage.join(self.config.output, STARTED_FILE))
        places = {part: storage.join(part.url, "run.json") for part in parts_of(self.config)}
        return [part for part, place in places.items() if not self._require_same(place)]

    def _require_same(self, place: str) -> bool:
        """Whether a document of this run is at `place`."""
        if not storage.exists(place):
            return False
        document = storage.read_json(place)
        if different := [name for name, value in self.identity.items() if document.get(name) != value]:
            raise ConfigError(
                f"--output {self.config.output} holds a run with another {' and '.join(different)}; "
                "choose another folder"
            )
        return True


def _fit(first: PretrainConfig, runs: list[Identified]) -> str | None:
    """Train under Ray Train; what the workers refused to do, or None."""
    gpus = int(cluster.gpus())
    workers = first.workers or max(1, gpus)
    share = first.cpus_per_worker or min(1.0, cluster.cpus() / (4 * workers))
    resources = {"CPU": share} | ({"GPU": 1} if gpus >= workers else {})
    output = storage.locate(first.output)
    scaling: dict[str, Any] = {
        "num_workers": workers if workers == 1 else (first.min_workers, workers),
        "use_gpu": gpus >= workers,
        "resources_per_worker": resources,
        # To join again costs the work since the last checkpoint, and a start: not every minute.
        "elastic_resize_monitor_interval_s": 600.0,
    }
    loop: Any = _work
    trainer = TorchTrainer(
        loop,
        train_loop_config={
            "runs": runs,
            "workers": workers,
            "threads": first.threads or max(1, (os.cpu_count() or 1) // workers),
        },
        scaling_config=ScalingConfig(**scaling),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=output.path,
            storage_filesystem=output.arrow,
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result: Any = trainer.fit()
    refusal = result.return_value
    return None if refusal is None else str(refusal)


def _work(arguments: dict[str, Any]) -> str | None:
    """What each Ray Train worker runs; what it was refused, or None.

    A refusal is returned, not raised: Ray Train would start the workers again, three times, for the same answer.
    """
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(arguments["threads"])
    runs: list[Identified] = arguments["runs"]
    # With fewer workers than wanted each takes several parts of a batch, so that none needs more memory.
    turns = math.ceil(arguments["workers"] / ray.train.get_context().get_world_size())
    try:
        for run in runs:
            data = open_training_set(run.config.images, run.digest, run.source)
            recipe = run.config.settings()
            gauges = open_gauges(data, run.digest, recipe.archive_gauges, run.config.seed)
            monitor = open_monitor(run.config.images, data, run.digest) if recipe.monitor_epochs else None
            for part in run.unfinished():
                _train_part(run, part, data, gauges, monitor, device, turns)
    except ConfigError as error:
        return str(error)
    return None


def _build(config: PretrainConfig, recipe: Recipe, regions: int, seed: int) -> Any:
    method = build_method(config.method, recipe, regions, seed)
    if config.weights:
        load_weights(method.backbone, config.weights)
        method.start_from_backbone()
    return method


def _train_part(
    run: Identified,
    part: Part,
    data: Samples,
    gauges: GaugeLibrary,
    monitor: Monitor | None,
    device: torch.device,
    turns: int,
) -> None:
    config = run.config
    data, recipe = restrict(data, config.settings(), part, config.method)
    method = _build(config, recipe, len(data.regions), part.seed)
    steps = total_steps(recipe, len(data), config.method, part.few_labels)
    recipe = recipe.override(accumulate=recipe.accumulate * turns)
    journal = Journal(part.url)
    is_first = ray.train.get_context().get_world_rank() == 0

    def save(state: State) -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if is_first:
                torch.save({**state, "part": part.url}, Path(folder) / STATE_FILE)
                checkpoint = Checkpoint.from_directory(folder)
                journal.write_tensorboard()
            ray.train.report({"position": state["position"]}, checkpoint=checkpoint)

    train(
        method,
        data,
        recipe,
        seed=part.seed,
        steps=steps,
        device=device,
        title=part.title(config.method),
        gauges=gauges,
        state=_last_state(part),
        save=save,
        log=journal.add,
        monitor=monitor,
    )
    if is_first:
        journal.write_tensorboard()
        save_run(
            part.url,
            method.backbone,
            method.head(),
            {
                **run.identity,
                "source": run.source,
                "regions": list(data.regions),
                "budget": part.budget,
                "seed": part.seed,
                "samples": len(data),
                "labelled": int((data.labels != UNLABELLED).sum()),
                "steps": steps,
                **{name: journal.last(name) for name in ("loss", *(MONITORED if monitor is not None else ()))},
            },
        )
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def restrict(data: Samples, recipe: Recipe, part: Part, method: str) -> tuple[Samples, Recipe]:
    """The data of a part: with few labels the others are taken away, and images that do not serve without label.

    Those serve simclr and byol, and supcon unless the recipe leaves them out. The batch of a run on few images is at
    most their number.
    """
    labels = data.labels
    if part.few_labels:
        names = np.array([data.regions[label] if label != UNLABELLED else "" for label in labels])
        chosen = labelled_subset(names, part.budget, part.seed)
        labels = np.full_like(labels, UNLABELLED)
        labels[chosen] = data.labels[chosen]
    keeps = method in ("simclr", "byol") or (method == "supcon" and recipe.unlabelled == "negatives")
    if keeps or (labels != UNLABELLED).all():
        return (data if labels is data.labels else data.with_labels(labels)), recipe
    few = data.with_labels(labels).take(np.flatnonzero(labels != UNLABELLED))
    return few, recipe.override(batch_size=min(recipe.batch_size, len(few)))


def _last_state(part: Part) -> State | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: State = torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
    return state if state["part"] == part.url else None
