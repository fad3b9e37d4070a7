"""The pre-training stage: the loop under Ray Train, its checkpoints, and the run folder it leaves."""

from __future__ import annotations

import dataclasses
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
from radray.images.reading import table_digest
from radray.memory import keep_freed_memory
from radray.pretrain.config import IMAGENET, PretrainConfig
from radray.pretrain.data import (
    fits_on_disk,
    open_gauges,
    open_monitor,
    open_training_set,
    require_trainable,
)
from radray.pretrain.journal import Follower, Journal, mlflow_tracker
from radray.pretrain.loop import State, build_method, share_of_batch, total_steps, train
from radray.pretrain.method import UNLABELLED, Method
from radray.pretrain.monitor import MONITORED, Monitor
from radray.pretrain.recipes import Recipe
from radray.pretrain.run import DOCUMENT_FILE, is_run, load_run, read_document, save_run
from radray.pretrain.samples import Samples
from radray.pretrain.weights import digest_of, load_weights, weights_for
from radray.views.gauge import GaugeLibrary

CHECKPOINTS = "checkpoints"
STATE_FILE = "state.pt"
MOST_FAILURES = 8
"""Times that lost workers are started again in one job, which may take weeks; the same command goes on after it."""
STARTED_FILE = "started.json"
"""What a run is: once it has a checkpoint, nobody goes on from it with other settings or images."""
NOT_IDENTITY = ("checkpoint_every_s", "monitor_epochs", "weights")
"""Settings that make no other run: those that only watch, and weights, whose digest stands for itself."""


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
            _check_trainable(run)
        cluster.connect()
        crew = _plan_crew(configs[0])
        waiting = [run.begin() for run in waiting]
        titles = {part.url: part.title(run.config.method) for run in waiting for part in run.unfinished()}
        with Follower(titles, tracker):
            refusal = _fit(configs[0], waiting, crew)
        if refusal is not None:
            raise ConfigError(refusal)
    return [_summarise(config) for config in configs]


def _check_trainable(run: Identified) -> None:
    """Refuse what cannot be trained, before any worker starts.

    Raises:
        ConfigError: Labels, images, batch, network, weights or side that do not fit.
    """
    config, recipe = run.config, run.config.settings()
    data = open_training_set(config.images, run.digest, run.source)
    require_trainable(data, config.method, needs_labels=config.method in ("supcon", "supervised"))
    if recipe.side_px > data.side_px:
        raise ConfigError(
            f"--side-px is {recipe.side_px}, the stored images have {data.side_px}; set at most that, or clean larger"
        )
    parts = run.unfinished()
    build_from(config, recipe, len(data.regions), parts[0])
    for part in parts:
        if config.start:
            weights_for(config.start, part.budget, part.seed)
        few, settings = restrict(data, recipe, part, config.method)
        share_of_batch(settings, len(few), config.workers or 1)


def _summarise(config: PretrainConfig) -> dict[str, Any]:
    run = load_run(config.output)
    return {
        "method": run.method,
        "backbone": run.backbone.name,
        "digest": run.digest,
        "rows_in": run.document["images"],
        "rows_out": run.document["images"],
        "by_status": {
            "trained": run.document["samples"],
            "left_out_without_label": run.document["images"] - run.document["samples"],
        },
        "steps": run.document["steps"],
        "loss": run.document["loss"],
        "source": run.document["source"],
        "networks": len(list(parts_of(config))),
    } | {name: run.document[name] for name in MONITORED if name in run.document}


def run_identity(config: PretrainConfig, digest: str) -> dict[str, Any]:
    """What two runs must share to be the same run."""
    recipe = json.loads(json.dumps(dataclasses.asdict(config.settings())))
    method: str = config.method
    if config.start and config.start != IMAGENET and is_run(config.start):
        method = f"{read_document(config.start)['method']}_{'tuned' if method == 'supervised' else method}"
    return {
        "method": method,
        "trained_by": config.method,
        "recipe": {name: value for name, value in recipe.items() if name not in NOT_IDENTITY},
        "data_digest": digest,
        "weights_digest": digest_of(config.start) if config.start else None,
        "run_seed": config.seed,
    }


@dataclasses.dataclass(frozen=True)
class Identified:
    """A run's configuration and what makes it this run."""

    config: PretrainConfig
    identity: dict[str, Any]
    chosen: str = ""
    """cache or stream, once it is decided."""

    @property
    def digest(self) -> str:
        """Of its images."""
        return str(self.identity["data_digest"])

    @property
    def source(self) -> str:
        """Cache or stream. What `auto` chose at the start holds until the end: the two have different orders.

        Raises:
            ConfigError: The recipe wants study mates, which a stream has not; or the run began with the other source.
        """
        config, begun = self.config, self._begun()
        if self.chosen:
            return self.chosen
        if begun:
            if config.source not in ("auto", begun["source"]):
                raise ConfigError(f"--output {config.output} was begun with --source {begun['source']}; keep it")
            return str(begun["source"])
        chosen = config.source
        if chosen == "auto":
            chosen = "cache" if fits_on_disk(config.images, self.digest) else "stream"
        if chosen == "stream" and config.method in ("simclr", "byol") and config.settings().study_mates:
            raise ConfigError("a streamed table has no second images of a study at hand; set --study-mates 0")
        return chosen

    def begin(self) -> Identified:
        """Write down what this run is, and decide its source. What was begun without a checkpoint is forgotten."""
        source = self.source
        if not self._begun():
            for part in self.unfinished():
                Journal(part.url).clear()
            storage.write_json(self._place, {**self.identity, "source": source, "has_checkpoint": False})
        return dataclasses.replace(self, chosen=source)

    def mark(self) -> None:
        """Write down that there is a checkpoint to go on from."""
        if not self._begun():
            storage.write_json(self._place, {**storage.read_json(self._place), "has_checkpoint": True})

    @property
    def _place(self) -> str:
        return storage.join(self.config.output, STARTED_FILE)

    def _begun(self) -> dict[str, Any] | None:
        """started.json of a run that there is something to go on from."""
        document: dict[str, Any] | None = storage.read_json(self._place) if storage.exists(self._place) else None
        return document if document and document["has_checkpoint"] else None

    def unfinished(self) -> list[Part]:
        """Its networks that are still to be trained.

        Raises:
            ConfigError: One was made, or begun, with other settings or images.
        """
        if self._begun():
            self._require_same(self._place)
        places = {part: storage.join(part.url, DOCUMENT_FILE) for part in parts_of(self.config)}
        return [part for part, place in places.items() if not self._require_same(place)]

    def _require_same(self, place: str) -> bool:
        """Whether a document of this run is at `place`."""
        if not storage.exists(place):
            return False
        document = storage.read_json(place)
        if different := [name for name, value in self.identity.items() if _told(document, name) != value]:
            raise ConfigError(
                f"--output {self.config.output} holds a run with another {' and '.join(different)}; "
                "choose another folder"
            )
        return True


def _told(document: dict[str, Any], name: str) -> Any:
    """What a document says; settings that it is too old to know had their default."""
    if name != "recipe" or name not in document:
        return document.get(name)
    return {"frozen": False} | {each: value for each, value in document[name].items() if each not in NOT_IDENTITY}


def _plan_crew(config: PretrainConfig) -> dict[str, Any]:
    """How many workers, on what: the arguments of Ray Train's ScalingConfig.

    Raises:
        ConfigError: The cluster has GPUs, but fewer than the fewest workers.
    """
    gpus = int(cluster.gpus())
    use_gpu = config.device == "gpu" or (config.device == "auto" and gpus > 0)
    workers = config.workers or max(1, gpus if use_gpu else 1)
    if config.device == "auto" and 0 < gpus < config.min_workers:
        raise ConfigError(
            f"the cluster has {gpus} GPUs, --min-workers is {config.min_workers}; set it lower, or --device cpu or gpu"
        )
    share = config.cpus_per_worker or min(1.0, cluster.cpus() / (4 * workers))
    return {
        "num_workers": workers if workers == 1 else (min(config.min_workers, workers), workers),
        "use_gpu": use_gpu,
        "resources_per_worker": {"CPU": share} | ({"GPU": 1} if use_gpu else {}),
        # To join again costs the work since the last checkpoint, and a start: not every minute.
        "elastic_resize_monitor_interval_s": 600.0,
    }


def _fit(first: PretrainConfig, runs: list[Identified], crew: dict[str, Any]) -> str | None:
    """Train under Ray Train; what the workers refused to do, or None."""
    output = storage.locate(first.output)
    count = crew["num_workers"]
    loop: Any = _work
    trainer = TorchTrainer(
        loop,
        train_loop_config={
            "runs": runs,
            "workers": count if isinstance(count, int) else count[1],
            "threads": first.threads,
        },
        scaling_config=ScalingConfig(**crew),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=output.path,
            storage_filesystem=output.arrow,
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
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
    device, context = get_device(), ray.train.get_context()
    if device.type == "cpu":
        torch.set_num_threads(arguments["threads"] or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
        keep_freed_memory()
    # With fewer GPUs than wanted each takes several parts of a batch in turn, so that none needs more memory.
    turns = math.ceil(arguments["workers"] / context.get_world_size()) if device.type == "cuda" else 1
    runs: list[Identified] = arguments["runs"]
    try:
        for run in runs:
            opened = _open(run)
            for part in run.unfinished():
                _train_part(run, part, opened, device, turns)
    except ConfigError as error:
        return str(error)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """What the networks of a run train on."""

    data: Samples
    gauges: GaugeLibrary
    monitor: Monitor | None


def _open(run: Identified) -> Opened:
    """Open a run's data on every worker.

    Raises:
        ConfigError: It cannot be opened on one of them.
    """
    refusal, recipe, opened = None, run.config.settings(), None
    try:
        data = open_training_set(run.config.images, run.digest, run.source)
        opened = Opened(
            data=data,
            gauges=open_gauges(data, run.digest, recipe.archive_gauges, run.config.seed),
            monitor=open_monitor(run.config.images, data, run.digest) if recipe.monitor_epochs else None,
        )
    except ConfigError as error:
        refusal = str(error)
    refusals = [refusal]
    if torch.distributed.is_initialized():
        refusals = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(refusals, refusal)
    for each in refusals:
        if each is not None:
            raise ConfigError(each)
    assert opened is not None
    return opened


def build_from(config: PretrainConfig, recipe: Recipe, regions: int, part: Part) -> Method:
    """A method with fresh weights, or with those of `--weights`.

    Raises:
        ConfigError: Unknown backbone, or weights that do not fit it.
    """
    method = build_method(config.method, recipe, regions, part.seed)
    if config.start:
        load_weights(method.backbone, weights_for(config.start, part.budget, part.seed))
        if recipe.frozen:
            method.backbone.freeze()
        method.start_from_backbone()
    return method


def _train_part(
    run: Identified,
    part: Part,
    opened: Opened,
    device: torch.device,
    turns: int,
) -> None:
    config = run.config
    data, recipe = restrict(opened.data, config.settings(), part, config.method)
    # A network of few labels is small work: looking at it now and then would take longer than training it.
    monitor = None if part.few_labels else opened.monitor
    method = build_from(config, recipe, len(data.regions), part)
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
                run.mark()
            ray.train.report({"position": state["position"]}, checkpoint=checkpoint)

    train(
        method,
        data,
        recipe,
        seed=part.seed,
        steps=steps,
        device=device,
        title=part.title(config.method),
        gauges=opened.gauges,
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
                "images": len(opened.data),
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
    if part.few_labels:
        recipe = recipe.override(batch_size=min(recipe.batch_size, len(few)), accumulate=1)
    return few, recipe


def _last_state(part: Part) -> State | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: State = torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
    return state if state["part"] == part.url else None
