"""The loop: it learns, goes on from a checkpoint bit for bit, and refuses what it cannot train on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radray.errors import ConfigError
from radray.pretrain import step
from radray.pretrain.loop import State, build_method, total_steps, train
from radray.pretrain.optimiser import learning_rate
from radray.pretrain.recipes import Recipe, cpu_demo
from radray.pretrain.run import load_run, save_run
from radray.pretrain.samples import Batch, Slice, TrainingSet
from radray.pretrain.stage import Part, restrict
from radray.pretrain.step import DivergedError
from radray.views.augment import render_views

RECIPE = dataclasses.replace(cpu_demo(), side_px=32, batch_size=16, checkpoint_every_s=0.0, learning_rate=1e-3)


# Adam turns the rounding of a tiny gradient into a whole step.
LINEAR: dict[str, Any] = {"optimiser": "lars", "learning_rate": 0.2, "weight_decay": 1e-4, "clip_norm": 1e9}


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    """Two regions: bright bars across or along."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (64, 32, 32), dtype=np.uint8)
    labels = np.arange(64) % 2
    for image, label in zip(images, labels, strict=True):
        place = rng.integers(8, 20)
        bar = (slice(place, place + 5), slice(2, 30))
        image[bar if label else bar[::-1]] += 150
    return TrainingSet(
        images=images,
        labels=labels,
        uris=[f"/{i}" for i in range(64)],
        regions=("across", "along"),
        studies=np.arange(64) // 3,
    )


def run(
    name: str,
    data: TrainingSet,
    steps: int,
    recipe: Recipe = RECIPE,
    state: State | None = None,
    dtype: torch.dtype = torch.float32,
    **more: object,
):
    torch.set_num_threads(1)
    method = build_method(name, recipe, 2, seed=0).to(dtype)
    return train(
        method,
        data,
        recipe,
        seed=0,
        steps=steps,
        device=torch.device("cpu"),
        title=name,
        state=state,
        **more,  # type: ignore[arg-type]
    )


def test_the_supervised_baseline_learns(data: TrainingSet) -> None:
    still = dataclasses.replace(RECIPE.views, quarter_turn=0.0, rotation_deg=5.0, shear_deg=5.0)
    method = run("supervised", data, 16, dataclasses.replace(RECIPE, views=still))
    head = method.head()
    assert head is not None
    with torch.no_grad():
        logits = method.backbone.embed(torch.from_numpy(data.images)) @ head["weight"].T + head["bias"]
    assert (logits.argmax(dim=1).numpy() == data.labels).mean() > 0.9


@pytest.mark.parametrize("name", ["simclr", "byol", "supcon", "supervised"])
def test_going_on_equals_never_stopping(name: str, data: TrainingSet) -> None:
    states: list[State] = []
    whole = run(name, data, 4, save=lambda state: states.append(copy.deepcopy(state)))
    assert [state["step"] for state in states] == [1, 2, 3]
    resumed = run(name, data, 4, state=states[1])
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_bad_data_is_refused_in_one_line(data: TrainingSet) -> None:
    with pytest.raises(ConfigError, match=r"batch of 128 is larger than the 64 training images; set --batch-size"):
        run("simclr", data, 2, dataclasses.replace(RECIPE, batch_size=128))
    other: list[State] = []
    run("simclr", data, 2, save=lambda state: other.append(copy.deepcopy(state)))
    with pytest.raises(ConfigError, match="another architecture"):
        run("simclr", data, 2, dataclasses.replace(RECIPE, backbone="resnet18"), state=other[0])


def test_a_loss_that_is_no_number_names_the_images(data: TrainingSet) -> None:
    method = build_method("simclr", RECIPE, 2, seed=0)
    with torch.no_grad():
        next(method.projection.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"loss is nan at step 0; set .*images: \['/"):
        train(method, data, RECIPE, seed=0, steps=1, device=torch.device("cpu"), title="simclr")


def test_few_labels_take_the_other_labels_away(data: TrainingSet) -> None:
    part = Part(url="/x", budget="3", seed=1)
    few, recipe = restrict(data, RECIPE, part, "supervised")
    assert isinstance(few, TrainingSet)
    assert len(few) == 6 and np.bincount(few.labels).tolist() == [3, 3] and recipe.batch_size == 6
    kept, recipe = restrict(data, RECIPE, part, "supcon")
    assert (
        isinstance(kept, TrainingSet) and len(kept) == 64 and (kept.labels >= 0).sum() == 6 and recipe.batch_size == 16
    )
    assert {data.uris[i] for i in np.flatnonzero(kept.labels >= 0)} == set(few.uris)
    left_out, recipe = restrict(data, dataclasses.replace(RECIPE, unlabelled="left_out"), part, "supcon")
    assert isinstance(left_out, TrainingSet) and left_out.uris == few.uris and recipe.batch_size == 6


def test_schedule_and_steps() -> None:
    rates = [learning_rate(step * 16, 1600, 16, RECIPE) for step in range(100)]
    assert rates[9] == pytest.approx(RECIPE.learning_rate) and rates[0] < rates[5] < rates[9]
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False)) and rates[-1] < 0.01 * max(rates)
    assert total_steps(dataclasses.replace(RECIPE, epochs=2), 33, "simclr", False) == 5


Weights = dict[str, torch.Tensor]


def assert_moved_alike(start: Weights, one: Weights, other: Weights, share: float) -> None:
    """Two trainings from the same weights differ by at most a share of the way they went, tensor by tensor."""
    compared = 0
    for name, value in start.items():
        if not value.is_floating_point():
            continue
        way = (one[name] - value).norm()
        if way > 1e-4 * value.norm() + 1e-6:  # else it is rounding
            compared += 1
            assert (one[name] - other[name]).norm() < share * way, name
    assert compared > len(start) / 4


@pytest.mark.parametrize(("batch", "accumulate", "parts"), [(16, 1, [16] * 4), (16, 2, [8] * 8), (15, 2, [7] * 10)])
def test_a_batch_is_taken_in_parts_and_none_is_lost(
    data: TrainingSet, batch: int, accumulate: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    whole = TrainingSet.batches

    def batches(self: TrainingSet, wanted: Slice) -> Iterator[Batch]:
        for each in whole(self, wanted):
            taken.append(each.rows)
            yield each

    monkeypatch.setattr(TrainingSet, "batches", batches)
    recipe = dataclasses.replace(RECIPE, batch_size=batch, accumulate=accumulate)
    lines: list[dict[str, float]] = []
    run("supervised", data, 4, recipe, log=lines.append)
    assert [len(rows) for rows in taken] == parts
    assert lines[-1]["step"] == len(parts) / accumulate and lines[-1]["position"] >= 4 * batch
    stream = np.concatenate(taken)
    assert sorted(stream[:64].tolist()) == list(range(len(stream[:64]))) or len(stream) < 64


def test_accumulated_gradients_are_those_of_the_whole_batch(data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "bfloat16_pays", lambda device: False)
    still = dataclasses.replace(RECIPE, views=dataclasses.replace(RECIPE.views, noise=0.0), **LINEAR)

    def weights(accumulate: int) -> dict[str, torch.Tensor]:
        recipe = dataclasses.replace(still, accumulate=accumulate, backbone="vit_s")  # no statistics of the batch
        return run("supervised", data, 1, recipe).state_dict()

    monkeypatch.setattr(step, "render_views", lambda images, *rest: images[:, None].float() / 255)
    start = build_method("supervised", dataclasses.replace(still, backbone="vit_s"), 2, seed=0).state_dict()
    assert_moved_alike(start, weights(1), weights(4), share=0.01)


def _train_rank(rank: int, world: int, folder: str, data: TrainingSet) -> None:
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
        )
    # Rounding hides what is compared: in float32 it moves a unit across a ReLU's edge now and then.
    step.bfloat16_pays = lambda device: False
    step.render_views = lambda *given: render_views(*given).double()
    recipe = dataclasses.replace(RECIPE, study_mates=0.5, **LINEAR)
    methods = {
        name: run(name, data, 3, recipe, dtype=torch.float64) for name in ("simclr", "byol", "supcon", "supervised")
    }
    if rank == 0:
        torch.save({name: method.state_dict() for name, method in methods.items()}, f"{folder}/{world}.pt")
    if world > 1:
        torch.distributed.destroy_process_group()


def test_one_rank_and_two_learn_the_same(data: TrainingSet, tmp_path: Path) -> None:
    for world in (1, 2):
        torch.multiprocessing.spawn(_train_rank, args=(world, str(tmp_path), data), nprocs=world)  # type: ignore[no-untyped-call]
    alone, together = (torch.load(tmp_path / f"{world}.pt") for world in (1, 2))
    for name, weights in alone.items():
        assert_moved_alike(build_method(name, RECIPE, 2, seed=0).state_dict(), weights, together[name], share=1e-5)


def test_a_run_folder_comes_back_and_tells_damage(tmp_path: Path) -> None:
    method = build_method("supervised", RECIPE, 2, seed=0)
    document = {"method": "supervised", "seed": 0, "regions": ["a", "b"], "budget": "all"}
    digest = save_run(str(tmp_path), method.backbone, method.head(), document)
    loaded = load_run(str(tmp_path))
    images = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    assert loaded.digest == digest
    assert torch.allclose(loaded.backbone.embed(images), method.backbone.embed(images), atol=1e-6)
    weights = bytearray((tmp_path / "backbone.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "backbone.safetensors").write_bytes(weights)
    with pytest.raises(ConfigError, match="damaged"):
        load_run(str(tmp_path))


def test_a_run_of_another_architecture_is_refused_in_one_line(tmp_path: Path) -> None:
    backbone = build_method("simclr", RECIPE, 2, seed=0).backbone
    backbone.network.stem[1] = torch.nn.Conv2d(1, 32, 3)  # type: ignore[operator]
    save_run(str(tmp_path), backbone, None, {"method": "simclr", "seed": 0, "regions": [], "budget": "none"})
    with pytest.raises(ConfigError, match="train again"):
        load_run(str(tmp_path))
