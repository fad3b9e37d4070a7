"""Bulk scoring is killed thirty times; a store fails under it: in the end every object has one row, the right one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radray import storage
from radray.score.versions import latest_predictions
from tests.conftest import CHECKOUT
from tests.faulty_store import FAULTS, faulty_store
from tests.processes import descendants, kill, kill_tree
from tests.score.many_objects import draw_bodies, identities, write_small_archive
from tests.score.test_score import write_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

OBJECTS, KILLS = 5000, 30
REQUESTS_PER_S = "60"
FEW_OBJECTS = 400
VICTIMS = ("driver", "worker", "raylet", "group")


class Job:
    """jobs/score.py on one archive, into outputs of several names, by a cluster of two logical CPUs of its own."""

    def __init__(self, folder: Path, archive: str, outputs: str) -> None:
        self._folder, self._archive, self._outputs = folder, archive, outputs

    def output(self, name: str) -> str:
        return f"{self._outputs}/{name}"

    def start(self, name: str, *more: str, **environment: str) -> subprocess.Popen[bytes]:
        """A run with `more` options, whose messages go to a file: a full pipe would stop it."""
        options = {
            "archive": self._archive, "bundle": self._folder / "bundle", "output": self.output(name),
            "patient-key": "none", "rows-per-block": 32, "max-workers": 2,
        }  # fmt: skip
        given = [text for option, value in options.items() for text in (f"--{option}", str(value))]
        with (self._folder / f"{name}.out").open("ab") as out, (self._folder / f"{name}.err").open("ab") as err:
            return subprocess.Popen(
                [
                    sys.executable,
                    str(CHECKOUT / "tests" / "two_cpus.py"),
                    str(CHECKOUT / "jobs" / "score.py"),
                    *given,
                    *more,
                ],
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.err").read_text()

    def finish(self, process: subprocess.Popen[bytes], name: str) -> dict[str, Any]:
        assert process.wait(timeout=900) == 0, self.said(name)[-3000:]
        summary: dict[str, Any] = json.loads((self._folder / f"{name}.out").read_text().splitlines()[-1])
        return summary

    def rows(self, name: str) -> list[dict[str, Any]]:
        return storage.read_table(latest_predictions(self.output(name))).sort_by("uri").to_pylist()


def committed(output: str) -> set[str]:
    """Files of ids that runs have committed; a run that starts puts those before into one, which is left out."""
    place = storage.locate(output)
    found = place.fs.glob(f"{place.path}/version=*/_checkpoint/*/*.parquet")
    return {path for path in found if ".pending" not in path and "compacted-" not in path}


def assert_same_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Every object once; everything the same, floats up to what the company in a batch changes."""
    assert [row["uri"] for row in found] == [row["uri"] for row in expected]
    floats = ("confidence", "ood_score", "probabilities")
    for row, twin in zip(found, expected, strict=True):
        assert {name: row[name] for name in row if name not in floats} == {
            name: twin[name] for name in twin if name not in floats
        }
        for name in floats:
            if twin[name] is None:
                assert row[name] is None
            else:
                np.testing.assert_allclose(row[name], twin[name], atol=1e-5)


def assert_no_identity(job: Job, name: str) -> None:
    """Neither messages nor tables nor JSON hold what identifies a patient."""
    place = storage.locate(job.output(name))
    texts = [job.said(name)]
    for path in place.fs.find(place.path):
        if path.endswith(".json"):
            texts.append(storage.read_bytes(f"s3://{path}").decode())
        elif path.endswith(".parquet"):
            texts.append(str(storage.read_table(f"s3://{path}").to_pydict()))
    known = identities(draw_bodies(40))
    assert len(known) > 20
    assert not [each for each in known if any(each in text for text in texts)]


@pytest.fixture(scope="module")
def many(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Of 5,000 objects on the S3 server."""
    folder = tmp_path_factory.mktemp("many")
    url = f"s3://radray-tests/{folder.name}"
    write_bundle(str(folder / "bundle"))
    write_small_archive(f"{url}/archive", OBJECTS)
    return Job(folder, f"{url}/archive", f"{url}/out")


@pytest.fixture(scope="module")
def few(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, list[dict[str, Any]]]:
    """Of 400 objects, and the rows of an undisturbed run."""
    folder = tmp_path_factory.mktemp("few")
    url = f"s3://radray-tests/{folder.name}"
    write_bundle(str(folder / "bundle"))
    write_small_archive(f"{url}/archive", FEW_OBJECTS)
    job = Job(folder, f"{url}/archive", f"{url}/out")
    job.finish(job.start("peace"), "peace")
    rows = job.rows("peace")
    assert len(rows) == FEW_OBJECTS
    return job, rows


class Nodes:
    """A cluster of three nodes on this machine whose raylets can be killed; a new node takes a lost one's place."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._settings = {"num_cpus": 2, "object_store_memory": 100 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args=self._settings)
        self._nodes = [self.cluster.add_node(**self._settings) for _ in range(2)]
        self.cluster.wait_for_nodes(timeout=120)

    def raylets(self) -> list[int]:
        return [node.all_processes["raylet"][0].process.pid for node in [self.cluster.head_node, *self._nodes]]

    def kill_raylet(self, chance: random.Random) -> None:
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        kill(node.all_processes["raylet"][0].process.pid)
        self.cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self.cluster.add_node(wait=False, **self._settings))


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.cluster.shutdown()


def workers_below(pids: list[int]) -> list[int]:
    """Processes of Ray that carry out tasks or hold actors."""
    found = []
    for pid in {below for raylet in pids for below in descendants(raylet)}:
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::") and not name.startswith(b"ray::IDLE"):
            found.append(pid)
    return sorted(found)


def wait(process: subprocess.Popen[bytes], seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Whether the job still runs after so long; sooner when something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None and not until():
        time.sleep(0.1)
    return process.poll() is None


def test_thirty_kills_leave_every_object_one_row(many: Job, nodes: Nodes) -> None:
    job = many
    job.finish(job.start("peace"), "peace")
    seed = int(os.environ.get("RADRAY_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed} (RADRAY_CHAOS_SEED)")
    chance, met, at_work = random.Random(seed), Counter[str](), 0
    while sum(met.values()) < KILLS:
        victims = [chance.choice(VICTIMS) for _ in range(4)]
        alone = victims[0] == "group"
        before = committed(job.output("killed"))
        # Slowly, or it would be at its end before it was killed often enough.
        pace = ("--max-requests-per-s", REQUESTS_PER_S)
        process = job.start("killed", *pace, **({} if alone else {"RAY_ADDRESS": nodes.cluster.address}))
        # A third of the moments are anywhere in the start, the others come after new rows.
        if chance.random() < 1 / 3:
            going = wait(process, chance.uniform(2, 15))
        else:
            going = wait(process, 180, lambda seen=before: bool(committed(job.output("killed")) - seen))
            going = going and wait(process, chance.uniform(0, 4))
        for victim in victims:
            if not going or sum(met.values()) == KILLS:
                break
            if victim in ("driver", "group") or alone:
                kill_tree(process) if alone or victim == "group" else kill(process.pid)
                met["group" if alone else victim] += 1
                break
            if victim == "raylet":
                nodes.kill_raylet(chance)
                met[victim] += 1
            elif working := workers_below(nodes.raylets()):
                kill(chance.choice(working))
                met[victim] += 1
            going = wait(process, chance.uniform(0.5, 4))
        if process.poll() is None:
            kill_tree(process)
        code = process.wait()
        fresh = len(committed(job.output("killed")) - before)
        at_work += bool(fresh)
        print(f"{sum(met.values())} kills {dict(met)}, exit {code}, {fresh} files of rows", flush=True)
        assert code != 0 or sum(met.values()) == KILLS, "the job ended before it was killed often enough"
    print(f"{at_work} runs were killed after new rows")
    assert at_work >= 5
    assert job.finish(job.start("killed"), "killed")["scored"] > 0
    assert set(met) == set(VICTIMS)
    assert_same_rows(job.rows("killed"), job.rows("peace"))


def test_a_node_that_every_job_needs_may_be_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "tests" / "lost_tracker.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_store_that_fails_and_goes_away_loses_nothing(few: tuple[Job, list[dict[str, Any]]], s3_server: str) -> None:
    job, expected = few
    with faulty_store(s3_server, seed=int(time.time()), share=0.05) as store:
        process = job.start("faults", AWS_ENDPOINT_URL=store.url)
        assert wait(process, 200, lambda: len(committed(job.output("faults"))) > 2), job.said("faults")
        store.gone_for(60)
        summary = job.finish(process, "faults")
    print(dict(store.done))
    assert_same_rows(job.rows("faults"), expected)
    assert summary["by_reason"].get("fetch_failed", 0) == 0
    assert_no_identity(job, "faults")
    assert set(FAULTS) <= set(store.done)
    of_objects = [count for path, count in store.requests.items() if path.endswith(".dcm")]
    # Header and body of each object, a row once more after the outage, and the attempts of the outage.
    assert sum(of_objects) < 4 * FEW_OBJECTS


def test_credentials_that_expire_end_the_run_with_a_line_and_it_goes_on(
    few: tuple[Job, list[dict[str, Any]]], s3_server: str
) -> None:
    job, expected = few
    with faulty_store(s3_server, seed=1, share=0.0) as store:
        process = job.start("expired", AWS_ENDPOINT_URL=store.url)
        assert wait(process, 200, lambda: len(committed(job.output("expired"))) > 2), job.said("expired")
        store.expired = True
        assert process.wait(timeout=300) == 2, job.said("expired")
        last = job.said("expired").splitlines()[-1]
        assert last.startswith("radray: s3://radray-tests: the store") and "ExpiredToken" in last
        assert "Traceback" not in job.said("expired")
        assert_no_identity(job, "expired")
        done = len(committed(job.output("expired")))
        assert done > 2
        store.expired = False
        job.finish(job.start("expired", AWS_ENDPOINT_URL=store.url), "expired")
    assert "rows are there already, going on" in job.said("expired")
    assert_same_rows(job.rows("expired"), expected)
