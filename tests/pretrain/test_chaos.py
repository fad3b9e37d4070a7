"""Training is killed in the middle of an epoch: the driver, a worker, a whole node. It goes on from where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from radray.pretrain.journal import read_journal
from tests.conftest import CHECKOUT
from tests.probe.drawn_images import SIDE, write_images
from tests.processes import descendants, kill, kill_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EPOCHS = 150


def command(folder: Path, output: str, *more: str) -> list[str]:
    options = {
        "images": folder / "images", "output": folder / output, "method": "simclr", "recipe": "cpu_demo",
        "side-px": SIDE, "batch-size": 32, "epochs": EPOCHS, "monitor-epochs": 50, "threads": 1,
        "checkpoint-every-s": 1,
    }  # fmt: skip
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, str(CHECKOUT / "jobs" / "pretrain.py"), *given, *more]


def start(folder: Path, output: str, *more: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, output, *more),
        env={**os.environ, "RADRAY_CACHE": str(folder / "cache"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err[-3000:]
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def train_workers(pids: list[int]) -> list[int]:
    """Those of some processes that run the training loop."""
    found = []
    for pid in pids:
        try:
            if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def checkpoints(run: Path) -> list[Path]:
    return sorted(place.parent for place in (run / "checkpoints").glob("checkpoint_*/state.pt"))


def position(run: Path) -> float:
    lines = read_journal(str(run))
    return lines[-1]["position"] if lines else 0


def position_of(checkpoint: Path) -> int:
    """Samples consumed at a checkpoint."""
    return int(torch.load(checkpoint / "state.pt", weights_only=True)["position"])


def went_on_at(run: Path) -> float:
    """The position at which the process that wrote the newest line began."""
    return read_journal(str(run))[-1]["began_at"]


def wait_until_under_way(process: subprocess.Popen[str], run: Path, beyond: float = 0) -> None:
    """Until a checkpoint and a line of the journal are there, well before the end."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the job ended before it could be killed: {process.communicate()[1][-2000:]}")
        if checkpoints(run) and position(run) > beyond:
            return
        time.sleep(0.2)
    raise AssertionError("no checkpoint within 300 s")


def is_joined(run: Path) -> bool:
    """Whether the journal tells every part of the run once, to its end."""
    lines = read_journal(str(run))
    positions = [line["position"] for line in lines]
    return positions == sorted(set(positions)) and positions[-1] == lines[-1]["samples"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("chaos")
    write_images(str(folder / "images"), patients=80)
    return folder, finish(start(folder, "peace"))


def test_after_the_driver_is_killed_the_same_command_gives_the_same_weights(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    folder, expected = undisturbed
    run, began = folder / "driver", 0
    seen = 1000.0
    for _ in range(2):
        process = start(folder, "driver")
        wait_until_under_way(process, run, beyond=seen)
        seen = position(run)
        assert went_on_at(run) >= began
        began = position_of(checkpoints(run)[-1])
        kill_tree(process)
        process.communicate()
    summary = finish(start(folder, "driver"))
    assert summary["digest"] == expected["digest"] and summary["loss"] == expected["loss"]
    assert is_joined(run)
    # The last start took the newest checkpoint (one more may have been on its way), not the beginning.
    assert went_on_at(run) >= began > 500
    # What both journals tell is the same to the last bit: no sample was shown twice and none left out.
    peace = {line["position"]: line["loss"] for line in read_journal(str(folder / "peace"))}
    common = [line for line in read_journal(str(run)) if line["position"] in peace]
    assert common and all(line["loss"] == peace[line["position"]] for line in common)


def test_after_a_worker_is_killed_the_job_goes_on_to_the_same_weights(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    folder, expected = undisturbed
    process = start(folder, "worker")
    wait_until_under_way(process, folder / "worker", beyond=1000)
    victims = train_workers(descendants(process.pid))
    assert victims
    for victim in victims:
        kill(victim)
    summary = finish(process)
    assert summary["digest"] == expected["digest"] and is_joined(folder / "worker")
    assert went_on_at(folder / "worker") >= 500


def test_after_a_node_is_lost_training_goes_on_with_fewer_workers(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    from ray.cluster_utils import Cluster

    folder, expected = undisturbed
    # A head that has nothing to train with, and two nodes with the CPU of one worker each.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 200 << 20})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
        cluster.wait_for_nodes(timeout=120)
        process = start(folder, "node", "--workers", "2", "--cpus-per-worker", "1", RAY_ADDRESS=cluster.address)
        wait_until_under_way(process, folder / "node", beyond=1000)
        seen = position(folder / "node")
        cluster.remove_node(nodes[0], allow_graceful=False)
        summary = finish(process)
    finally:
        cluster.shutdown()
    lines = read_journal(str(folder / "node"))
    assert is_joined(folder / "node") and [line for line in lines if line["position"] <= seen]
    assert abs(summary["knn_accuracy"] - expected["knn_accuracy"]) <= 0.1
    workers = [line["workers"] for line in lines]
    assert workers[0] == 2 and workers[-1] == 1 and workers == sorted(workers, reverse=True)
    assert 0 < lines[-1]["began_at"] <= lines[workers.index(1)]["position"]
