"""Archives: `jobs/score.py` as a job of the same cluster. What is known of a job lies in Ray's job store alone."""

import json
import os
import re
import secrets
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from radray import storage
from radray.errors import ConfigError
from radray.score.config import ScoreConfig
from serve.answers import Relabel, RelabelRequest
from serve.problems import ApiError, ApiReason

CHECKOUT = Path(__file__).resolve().parents[1]
_ID = re.compile(r"relabel-[0-9a-f]{16}")
_PROGRESS = re.compile(r"score: ([\d,]+) of ([\d,]+) rows · ([\d.]+) rows/s · (?:ETA (\d+|inf) s|in|starting)")
_SECRET = "RADRAY_PATIENT_KEY"
_STATUS: dict[JobStatus, Literal["pending", "running", "stopped", "succeeded", "failed"]] = {
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running",
    JobStatus.STOPPED: "stopped",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
}


class Relabels:
    """Starts, follows and stops relabelling jobs.

    Args:
        bundle: URL of the bundle that labels.
        allowed: URLs that archives, outputs and tables of labels must lie under.
        address: Of the job server; empty for that of this cluster.
    """

    def __init__(self, *, bundle: str, allowed: tuple[str, ...], address: str = "") -> None:
        self._bundle, self._allowed, self._address = bundle, allowed, address
        self._known: JobSubmissionClient | None = None

    def start(self, asked: RelabelRequest, caller: str) -> Relabel:
        """Start a job.

        Raises:
            ApiError: FORBIDDEN for a URL outside the allow-list, NO_JOB_SERVER.
            ConfigError: The job would refuse these settings.
        """
        urls = [asked.archive, asked.output, *([asked.labels[6:]] if asked.labels.startswith("table:") else [])]
        for url in urls:
            check_allowed(url, self._allowed)
        config = ScoreConfig(
            archive=asked.archive,
            bundle=self._bundle,
            output=asked.output,
            labels=asked.labels,
            key=asked.key,
            max_workers=asked.max_workers,
            patient_key=f"env:{_SECRET}" if os.environ.get(_SECRET) else "none",
        )
        config.check()
        name = f"relabel-{secrets.token_hex(8)}"
        self._client().submit_job(
            entrypoint=shlex.join(_command(config)),
            submission_id=name,
            metadata={"radray": "relabel", "archive": asked.archive, "output": asked.output, "asked_by": caller},
            runtime_env={"env_vars": _environment()},
        )
        return self.show(name)

    def list(self) -> list[Relabel]:
        """All jobs that were started here, the newest first."""
        jobs = [job for job in self._client().list_jobs() if _is_ours(job)]
        jobs.sort(key=lambda job: -(job.start_time or 0))
        return [self._describe(job, "") for job in jobs]

    def show(self, name: str) -> Relabel:
        """One job with its progress.

        Raises:
            ApiError: NOT_FOUND or NO_JOB_SERVER.
        """
        job = self._find(name)
        logs = "" if job.status == JobStatus.PENDING else self._client().get_job_logs(name)
        return self._describe(job, logs)

    def stop(self, name: str) -> Relabel:
        """Stop a job; the rows it has committed stay, and the same request goes on from them.

        Raises:
            ApiError: NOT_FOUND, FINISHED or NO_JOB_SERVER.
        """
        if self._find(name).status.is_terminal():
            raise ApiError(ApiReason.FINISHED, "the job has ended already")
        self._client().stop_job(name)
        return self.show(name)

    def _find(self, name: str) -> JobDetails:
        if not _ID.fullmatch(name):
            raise ApiError(ApiReason.NOT_FOUND, "no such job")
        try:
            job = self._client().get_job_info(name)
        except RuntimeError as error:
            raise ApiError(ApiReason.NOT_FOUND, "no such job") from error
        if not _is_ours(job):
            raise ApiError(ApiReason.NOT_FOUND, "no such job")
        return job

    def _client(self) -> JobSubmissionClient:
        if self._known is None:
            address = self._address or ray.get_runtime_context().gcs_address
            try:
                self._known = JobSubmissionClient(address)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ApiError(ApiReason.NO_JOB_SERVER, "the cluster's job server does not answer") from error
        return self._known

    def _describe(self, job: JobDetails, logs: str) -> Relabel:
        facts = job.metadata or {}
        summary = self._summary(logs) if job.status == JobStatus.SUCCEEDED else None
        progress = read_progress(logs)
        failed = job.status == JobStatus.FAILED
        return Relabel(
            id=str(job.submission_id),
            status=_STATUS[job.status],
            archive=facts.get("archive", ""),
            output=facts.get("output", ""),
            asked_by=facts.get("asked_by", ""),
            started=_seconds(job.start_time),
            ended=_seconds(job.end_time),
            **progress,
            summary=summary,
            message=_complaint(logs) if failed else None,
        )

    @staticmethod
    def _summary(logs: str) -> dict[str, Any] | None:
        for line in reversed(logs.splitlines()):
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        return None


def check_allowed(url: str, allowed: tuple[str, ...]) -> None:
    """Refuse a URL outside the allow-list; links and `..` of folders are followed first.

    Raises:
        ApiError: FORBIDDEN.
    """
    try:
        given = _resolve(url)
    except (ConfigError, ValueError) as error:
        raise ApiError(ApiReason.FORBIDDEN, "this URL cannot be used") from error
    if not any(given == base or given.startswith(base.rstrip("/") + "/") for base in map(_resolve, allowed)):
        raise ApiError(ApiReason.FORBIDDEN, "the URL is not under the service's allow-list (RADRAY_ALLOWED_URLS)")


def _resolve(url: str) -> str:
    found = storage.normalise_url(url)
    if "\0" in found or ("://" in found and {"..", "."}.intersection(found.split("/"))):
        raise ValueError(url)
    return found if "://" in found else os.path.realpath(found)


def read_progress(logs: str) -> dict[str, Any]:
    """The last progress line of a job's log."""
    found = None
    for found in _PROGRESS.finditer(logs):  # noqa: B007 the last one counts
        pass
    if found is None:
        return dict.fromkeys(("rows_done", "rows_total", "rows_per_s", "eta_s"))
    done, total, rate, left = found.groups()
    return {
        "rows_done": int(done.replace(",", "")),
        "rows_total": int(total.replace(",", "")),
        "rows_per_s": float(rate),
        "eta_s": float(left) if left and left != "inf" else None,
    }


def _command(config: ScoreConfig) -> list[str]:
    given = {
        "--archive": config.archive,
        "--bundle": config.bundle,
        "--output": config.output,
        "--labels": config.labels,
        "--key": config.key,
        "--patient-key": config.patient_key,
        "--max-workers": config.max_workers,
    }
    options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    return [sys.executable, "-m", "jobs.score", *options]


def _environment() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if part)
    secret = {_SECRET: os.environ[_SECRET]} if os.environ.get(_SECRET) else {}
    return {**storage.environment(), **secret, "PYTHONPATH": path}


def _is_ours(job: JobDetails) -> bool:
    return bool(job.submission_id) and (job.metadata or {}).get("radray") == "relabel"


def _complaint(logs: str) -> str:
    lines = [line for line in logs.splitlines() if line.startswith("radray: ")]
    return lines[-1].removeprefix("radray: ") if lines else "it failed; the job's log in Ray's dashboard tells why"


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
