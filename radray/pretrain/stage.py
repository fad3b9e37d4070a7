"""The pre-training stage: the loop under Ray Train, its checkpoints, and the run folder it leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import threading
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
from radray.pretrain.data import open_training_set, require_trainable, table_digest
from radray.pretrain.loop import LOG_EVERY_S, State, TrainingSet, build_method, progress_line, total_steps, train
from radray.pretrain.method import UNLABELLED
from radray.pretrain.recipes import Recipe
from radray.pretrain.run import load_run, save_run

CHECKPOINTS = "checkpoints"
STATE_FILE = "state.pt"


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
        configs: At least one. The first one's `workers` and `threads` hold for all; checkpoints lie in its folder.

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
        cluster.connect()
        for run in waiting:
            data = open_training_set(run.config.images, run.digest)
            require_trainable(data, run.config.method, needs_labels=run.config.method in ("supcon", "supervised"))
        _fit(configs[0], waiting)
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
        "networks": len(list(parts_of(config))),
    }


def run_identity(config: PretrainConfig, digest: str) -> dict[str, Any]:
    """What two runs must share to be the same run."""
    return {
        "method": config.method,
        "recipe": json.loads(json.dumps(dataclasses.asdict(config.settings()))),
        "data_digest": digest,
        "run_seed": config.seed,
    }


def is_finished(part: Part, identity: dict[str, Any]) -> bool:
    """Whether a part's run folder is complete.

    Raises:
        ConfigError: It was made with other settings or images.
    """
    place = storage.join(part.url, "run.json")
    if not storage.exists(place):
        return False
    document = storage.read_json(place)
    if different := [name for name, value in identity.items() if document.get(name) != value]:
        raise ConfigError(
            f"--output {part.url} holds a run with another {' and '.join(different)}; choose another folder"
        )
    return True


@dataclasses.dataclass(frozen=True)
class Identified:
    """A run's configuration and what makes it this run."""

    config: PretrainConfig
    identity: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of its images."""
        return str(self.identity["data_digest"])

    def unfinished(self) -> list[Part]:
        """Its networks that are still to be trained.

        Raises:
            ConfigError: One was made with other settings or images.
        """
        return [part for part in parts_of(self.config) if not is_finished(part, self.identity)]


def _fit(first: PretrainConfig, runs: list[Identified]) -> None:
    gpus = int(cluster.gpus())
    workers = first.workers or max(1, gpus)
    share = min(1.0, cluster.cpus() / (4 * workers))
    resources = {"CPU": share} | ({"GPU": 1} if gpus >= workers else {})
    output = storage.locate(first.output)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"runs": runs, "threads": first.threads or max(1, (os.cpu_count() or 1) // workers)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus >= workers, resources_per_worker=resources),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=output.path,
            storage_filesystem=output.arrow,
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    with _ProgressLines(runs):
        trainer.fit()


def _work(arguments: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(arguments["threads"])
    runs: list[Identified] = arguments["runs"]
    for run in runs:
        data = open_training_set(run.config.images, run.digest)
        for part in run.unfinished():
            _train_part(run.config, part, data, device, run.identity)


def _train_part(
    config: PretrainConfig, part: Part, data: TrainingSet, device: torch.device, identity: dict[str, Any]
) -> None:
    recipe = config.settings()
    data, recipe = restrict(data, recipe, part, keep_unlabelled=config.method == "supcon")
    method = build_method(config.method, recipe, len(data.regions), part.seed)
    steps = total_steps(recipe, len(data.images), config.method, part.few_labels)
    journal = Journal(storage.join(part.url, "metrics.jsonl"))
    state = _last_state(part)

    def save(state: State) -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if ray.train.get_context().get_world_rank() == 0:
                torch.save({**state, "part": part.url}, Path(folder) / STATE_FILE)
                checkpoint = Checkpoint.from_directory(folder)
            ray.train.report({"step": state["step"]}, checkpoint=checkpoint)

    train(
        method,
        data,
        recipe,
        seed=part.seed,
        steps=steps,
        device=device,
        title=part.title(config.method),
        state=state,
        save=save,
        log=journal.add,
    )
    if ray.train.get_context().get_world_rank() == 0:
        save_run(
            part.url,
            method.backbone,
            method.head(),
            {
                **identity,
                "regions": list(data.regions),
                "budget": part.budget,
                "seed": part.seed,
                "samples": len(data.images),
                "labelled": int((data.labels != UNLABELLED).sum()),
                "steps": steps,
                "loss": journal.last("loss"),
            },
        )
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def restrict(data: TrainingSet, recipe: Recipe, part: Part, keep_unlabelled: bool) -> tuple[TrainingSet, Recipe]:
    """The data of a part: with few labels the others are taken away, and their images too unless they still serve.

    The batch of a run on few images is at most their number.
    """
    if not part.few_labels:
        return data, recipe
    names = np.array([data.regions[label] if label != UNLABELLED else "" for label in data.labels])
    chosen = labelled_subset(names, part.budget, part.seed)
    if keep_unlabelled:
        labels = np.full_like(data.labels, UNLABELLED)
        labels[chosen] = data.labels[chosen]
        return dataclasses.replace(data, labels=labels), recipe
    few = dataclasses.replace(
        data,
        images=data.images[chosen],
        labels=data.labels[chosen],
        uris=[data.uris[index] for index in chosen],
        studies=None if data.studies is None else data.studies[chosen],
    )
    return few, recipe.override(batch_size=min(recipe.batch_size, len(chosen)))


def _last_state(part: Part) -> State | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: State = torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
    return state if state["part"] == part.url else None


class Journal:
    """metrics.jsonl of a run; written whole every time, so that it also lives in an object store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lines = read_journal(url)

    def add(self, metrics: dict[str, float]) -> None:
        """Append a step; steps after it, from before a crash, are taken back."""
        self._lines = [line for line in self._lines if line["step"] < metrics["step"]]
        self._lines.append(metrics)
        storage.write_bytes(self._url, "".join(json.dumps(line) + "\n" for line in self._lines).encode())

    def last(self, name: str) -> float:
        """The newest value of a metric."""
        return self._lines[-1][name]


def read_journal(url: str) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; none where there is no such file."""
    if not storage.exists(url):
        return []
    return [json.loads(line) for line in storage.read_bytes(url).splitlines()]


class _ProgressLines:
    """Follows the journals of the networks in training and prints what is new to standard error."""

    def __init__(self, runs: Sequence[Identified]) -> None:
        self._journals = {
            part.title(run.config.method): storage.join(part.url, "metrics.jsonl")
            for run in runs
            for part in run.unfinished()
        }
        self._seen: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._print_news()

    def _watch(self) -> None:
        while not self._stop.wait(2 * LOG_EVERY_S):
            self._print_news()

    def _print_news(self) -> None:
        for title, url in list(self._journals.items()):
            for metrics in read_journal(url)[-1:]:
                if metrics["step"] != self._seen.get(title):
                    self._seen[title] = metrics["step"]
                    print(progress_line(title, metrics), file=sys.stderr, flush=True)
                if metrics["step"] == metrics["steps"]:
                    del self._journals[title]
