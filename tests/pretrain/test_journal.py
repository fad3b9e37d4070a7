"""The journal: no step twice after a crash, the same numbers in TensorBoard and MLflow, lines to read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from radray import storage
from radray.errors import ConfigError
from radray.pretrain.journal import EVENTS_FILE, Follower, Journal, mlflow_tracker, progress_line, read_journal


def line(position: int, **more: float) -> dict[str, float]:
    return {
        "step": position // 8,
        "position": position,
        "samples": 80,
        "epoch": position / 40,
        "epochs": 2.0,
        "loss": 5.0 - position / 80,
        "images_per_s": 100.0,
        "eta_s": 3.0,
        **more,
    }


def test_lines_of_before_a_crash_are_taken_back(store: str) -> None:
    journal = Journal(store)
    for position in (8, 16, 24):
        journal.add(line(position))
    again = Journal(store)
    again.add(line(16, loss=1.0))
    assert [(each["position"], each["loss"]) for each in read_journal(store)] == [(8, 4.9), (16, 1.0)]
    assert again.last("loss") == 1.0
    again.add(line(24, knn_accuracy=0.5))
    again.add(line(32))
    assert again.last("knn_accuracy") == 0.5
    assert read_journal(storage.join(store, "nothing")) == []


def test_tensorboard_gets_every_step_once(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.add(line(8))
    journal.write_tensorboard()
    journal.add(line(16, knn_accuracy=0.25))
    journal.write_tensorboard()
    body, found = (tmp_path / EVENTS_FILE).read_bytes(), []
    while body:  # records: length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", body[:8])
        event = Event.FromString(body[12 : 12 + length])
        found += [(event.step, value.tag, round(value.simple_value, 3)) for value in event.summary.value]
        body = body[16 + length :]
    assert [(step, value) for step, tag, value in found if tag == "loss"] == [(1, 4.9), (2, 4.8)]
    assert (2, "knn_accuracy", 0.25) in found and "position" not in {tag for _, tag, _ in found}


def test_the_follower_prints_what_is_new_and_tells_the_tracker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, float]] = []
    journal = Journal(str(tmp_path))
    with Follower({str(tmp_path): "simclr"}, lambda title, each: told.append((title, each["position"]))):
        journal.add(line(8, knn_accuracy=0.4, linear_accuracy=0.5))
        journal.add(line(16))
        journal.add(line(80, eta_s=0.0))
    assert told == [("simclr", 8), ("simclr", 16), ("simclr", 80)]
    printed = capsys.readouterr().err.splitlines()
    assert [each.split(" · ")[0] for each in printed] == ["simclr: epoch 0.2 of 2.0", "simclr: epoch 2.0 of 2.0"]
    assert "kNN 40.0% · linear 50.0%" in printed[0]
    assert progress_line("x", line(40)) == "x: epoch 1.0 of 2.0 · loss 4.500 · 100 images/s · ETA 3 s"


def test_mlflow_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"install radray\[mlflow\]"):
        mlflow_tracker("folder", {})
