"""metrics.jsonl of a run, the same for TensorBoard, and the lines about it on standard error (and in MLflow)."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from radray import storage
from radray.errors import ConfigError
from radray.pretrain.loop import LOG_EVERY_S
from radray.pretrain.monitor import MONITORED

JOURNAL_FILE = "metrics.jsonl"
EVENTS_FILE = "tensorboard/events.out.tfevents.0.radray"
PLACES = ("step", "position", "samples", "epochs", "time", "began_at", "workers", "part_size")
"""Numbers of a line that say where it stands rather than how it goes."""

Line = dict[str, float]


class Journal:
    """metrics.jsonl of a run; written whole every time, so that it also lives in an object store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lines = read_journal(url)

    def add(self, metrics: Line) -> None:
        """Append a line; lines at or after its position, from before a crash, are taken back."""
        self._lines = [line for line in self._lines if line["position"] < metrics["position"]]
        self._lines.append({"time": round(time.time(), 1), **metrics})
        body = "".join(json.dumps(line) + "\n" for line in self._lines)
        storage.write_bytes(storage.join(self._url, JOURNAL_FILE), body.encode())

    def clear(self) -> None:
        """Forget all lines."""
        if self._lines:
            self._lines = []
            storage.write_bytes(storage.join(self._url, JOURNAL_FILE), b"")

    def last(self, name: str) -> float:
        """The newest value of a metric.

        Raises:
            KeyError: It was never written.
        """
        return next(line[name] for line in reversed(self._lines) if name in line)

    def write_tensorboard(self) -> None:
        """Write all lines as one TensorBoard event file beside the journal (written whole, so no step comes twice)."""
        with tempfile.TemporaryDirectory() as folder:
            with SummaryWriter(folder) as writer:
                for line in self._lines:
                    for name in line.keys() - set(PLACES):
                        writer.add_scalar(name, line[name], int(line["step"]), walltime=line["time"])
            for file in Path(folder).iterdir():
                storage.write_bytes(storage.join(self._url, EVENTS_FILE), file.read_bytes())


def read_journal(url: str) -> list[Line]:
    """The lines of a run's metrics.jsonl; none where there is no such file."""
    place = storage.join(url, JOURNAL_FILE)
    if not storage.exists(place):
        return []
    return [json.loads(line) for line in storage.read_bytes(place).splitlines()]


def progress_line(title: str, metrics: Line) -> str:
    """One line about a running training: how far, loss, images a second, accuracy where it was measured, time to go."""
    accuracy = "".join(
        f" · {name} {metrics[key]:.1%}"
        for name, key in zip(("kNN", "linear"), MONITORED, strict=True)
        if key in metrics
    )
    return (
        f"{title}: epoch {metrics['epoch']:.1f} of {metrics['epochs']:.1f} · loss {metrics['loss']:.3f}{accuracy} · "
        f"{metrics['images_per_s']:.0f} images/s · ETA {metrics['eta_s']:.0f} s"
    )


class Follower:
    """Follows the journals of the networks in training: prints what is new, and tells MLflow if wanted.

    Args:
        journals: URL of each network's run folder → what to call it.
        tracker: Called with (title, line) for every new line.
    """

    def __init__(self, journals: dict[str, str], tracker: Callable[[str, Line], None] | None = None) -> None:
        self._journals = dict(journals)
        self._tracker = tracker
        self._seen = {url: max((line["position"] for line in read_journal(url)), default=0.0) for url in journals}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        """Start to follow."""
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        """Stop, and say what came last."""
        self._stop.set()
        self._thread.join()
        self._tell_news()

    def _watch(self) -> None:
        while not self._stop.wait(2 * LOG_EVERY_S):
            self._tell_news()

    def _tell_news(self) -> None:
        try:
            self._tell()
        except Exception as error:  # a store or tracker that does not answer ends no training
            print(f"progress could not be read: {error}", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        for url, title in list(self._journals.items()):
            news = [line for line in read_journal(url) if line["position"] > self._seen[url]]
            for line in news:
                if line is news[-1] or any(name in line for name in MONITORED):
                    print(progress_line(title, line), file=sys.stderr, flush=True)
                self._seen[url] = line["position"]
                if line["position"] >= line["samples"]:
                    del self._journals[url]
            if self._tracker is not None:
                for line in news:
                    self._tracker(title, line)


def mlflow_tracker(uri: str, settings: dict[str, Any]) -> Callable[[str, Line], None]:
    """A tracker that writes each network as a run of the MLflow experiment `radray`.

    Args:
        uri: Tracking server.
        settings: Parameters of the runs.

    Raises:
        ConfigError: MLflow is not installed, or the server does not answer.
    """
    try:
        from mlflow import MlflowClient, MlflowException
    except ImportError as error:
        raise ConfigError("--mlflow needs the package mlflow-skinny; install radray[mlflow]") from error
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name("radray")
        experiment = known.experiment_id if known else client.create_experiment("radray")
    except MlflowException as error:
        raise ConfigError(f"--mlflow {uri} does not answer: {str(error).splitlines()[0]}") from error
    runs: dict[str, str] = {}

    def track(title: str, line: Line) -> None:
        if title not in runs:
            runs[title] = client.create_run(experiment, run_name=title).info.run_id
            for name, value in settings.items():
                client.log_param(runs[title], name, str(value)[:500])
        for name in line.keys() - set(PLACES):
            client.log_metric(runs[title], name, line[name], timestamp=int(line["time"] * 1000), step=int(line["step"]))
        if line["position"] >= line["samples"]:
            client.set_terminated(runs[title])

    return track
