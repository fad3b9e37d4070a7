"""Every job as a real process: a bad command line is one line, exit code 2, in seconds, before Ray or torch."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
JOBS = sorted(path.stem for path in (CHECKOUT / "jobs").glob("[a-z]*.py"))
HEAVY = {"ray", "torch", "sklearn", "matplotlib", "lightly"}
CPU_LIMIT_S = 2.0
"""Five seconds less the three that a silent store is given. CPU time, for the machine may be busy with other work."""

ONE_OF = {"score": "--archive", "report": "--index"}
"""An input of the jobs that need one of several, which their help cannot mark as required."""

NOTE_MODULES = """
import atexit, os, sys
atexit.register(lambda: open(os.environ["MODULES_FILE"], "w").write("\\n".join(sys.modules)))
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a job said before it stopped."""

    code: int
    errors: list[str]
    modules: set[str]
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a job, from its `--help`."""

    flag: str
    kind: str
    required: bool


def run_job(job: str, folder: Path, *arguments: str, **environment: str) -> Answer:
    (folder / "sitecustomize.py").write_text(NOTE_MODULES)
    modules = folder / "modules.txt"
    environment = {"RADRAY_PATIENT_KEY": "a long secret of the tests", **environment}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(folder), "MODULES_FILE": str(modules), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Answer(
        code=done.returncode,
        errors=done.stderr.splitlines(),
        modules={name.partition(".")[0] for name in modules.read_text().split()},
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


@lru_cache
def options(job: str) -> tuple[Option, ...]:
    """The options of a job as its help lists them: `--name KIND`, and `(required)` before the next one."""
    text = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--help"],
        cwd=CHECKOUT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    parts = re.split(r"^\W*(?=--[a-z])", text, flags=re.MULTILINE)[1:]
    heads = [re.match(r"(--[\w.-]+),? ?(\S*)", part) for part in parts]
    return tuple(
        Option(flag=head[1], kind=head[2], required="(required)" in part)
        for head, part in zip(heads, parts, strict=True)
        if head
    )


def filled(job: str, url: str, output: str) -> list[str]:
    """A command line with every required option set: `output` for the output, `url` for the inputs."""
    arguments = []
    for option in options(job):
        if option.required:
            choice = re.match(r"\{([^,}]+)", option.kind)
            value = choice[1] if choice else output if option.flag == "--output" else url
            arguments += [option.flag, value]
    return [*arguments, ONE_OF[job], url] if job in ONE_OF else arguments


def has_input(job: str) -> bool:
    return job in ONE_OF or any(option.required and option.flag != "--output" for option in options(job))


def assert_refused(answer: Answer, *words: str) -> None:
    assert len(answer.errors) == 1, answer.errors
    assert answer.errors[0].startswith("radray: ")
    for word in words:
        assert word in answer.errors[0]
    assert answer.code == 2
    assert not answer.modules & HEAVY
    assert answer.cpu_seconds < CPU_LIMIT_S


@pytest.fixture(params=["refusing", "silent"])
def dead_endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store whose port is closed, and one that takes the call and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(8)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_there_are_jobs() -> None:
    assert {"phantom", "clean"} <= set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_help_lists_the_options(job: str) -> None:
    assert options(job)


@pytest.mark.parametrize("job", JOBS)
def test_an_unknown_option_is_named(job: str, tmp_path: Path) -> None:
    arguments = filled(job, str(tmp_path), str(tmp_path / "output"))
    assert_refused(run_job(job, tmp_path, *arguments, "--no-such-option", "3"), "--no-such-option")


@pytest.mark.parametrize("job", JOBS)
def test_a_bad_value_is_named(job: str, tmp_path: Path) -> None:
    numbers = [option.flag for option in options(job) if option.kind in ("INT", "FLOAT")]
    if not numbers:
        pytest.skip(f"jobs/{job}.py takes no number")
    arguments = filled(job, str(tmp_path), str(tmp_path / "output"))
    assert_refused(run_job(job, tmp_path, *arguments, numbers[0], "many"), numbers[0], "many")


@pytest.mark.parametrize("job", JOBS)
def test_a_missing_option_is_named(job: str, tmp_path: Path) -> None:
    required = [option.flag for option in options(job) if option.required]
    if not required:
        pytest.skip(f"jobs/{job}.py needs no option")
    assert_refused(run_job(job, tmp_path), required[0])


@pytest.mark.parametrize("job", JOBS)
def test_a_url_where_nothing_lies_is_named(job: str, tmp_path: Path) -> None:
    if not has_input(job):
        pytest.skip(f"jobs/{job}.py reads no URL")
    absent = str(tmp_path / "absent")
    assert_refused(run_job(job, tmp_path, *filled(job, absent, str(tmp_path / "output"))), absent)


@pytest.mark.parametrize("job", JOBS)
def test_an_output_that_cannot_be_written_is_named(job: str, tmp_path: Path) -> None:
    if not any(option.flag == "--output" and option.required for option in options(job)) or has_input(job):
        pytest.skip(f"jobs/{job}.py looks at its inputs first")
    (tmp_path / "file").write_bytes(b"")
    below = str(tmp_path / "file" / "below")
    assert_refused(run_job(job, tmp_path, *filled(job, below, below)), below)


@pytest.mark.parametrize("job", JOBS)
def test_an_unreachable_bucket_is_named(job: str, dead_endpoint: str, tmp_path: Path) -> None:
    arguments = filled(job, "s3://hospital/archive", "s3://hospital/output")
    if not arguments:
        pytest.skip(f"jobs/{job}.py needs no URL")
    answer = run_job(
        job,
        tmp_path,
        *arguments,
        AWS_ENDPOINT_URL=dead_endpoint,
        AWS_ACCESS_KEY_ID="tests",
        AWS_SECRET_ACCESS_KEY="tests",
        AWS_REGION="us-east-1",
    )
    assert_refused(answer, "s3://hospital/", dead_endpoint)
