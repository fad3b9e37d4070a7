"""Joining a Ray cluster, or starting one of this machine alone."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

import ray

from radray import storage

_CONNECTING = threading.Lock()

START_TRIES = 4
_TRACKERS = ("ActorLocationTracker", "AutoscalingCoordinator")
"""Names, and namespaces, of the actors that Ray Data 2.60 keeps."""
_TRACKER_S = 10.0
_GPU_LOOK_S = 120.0
LOCAL_OBJECT_STORE_BYTES = 1 << 30
"""Object store of a cluster started here: batches pass through it, never an archive."""


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or the job's environment names; without one start a cluster here.

    A cluster started here declares twice as many logical CPUs as there are cores: on two cores the actor pools,
    readers, writers and the checkpoint filter of one plan would otherwise wait for each other for ever.
    """
    with _CONNECTING:
        if not ray.is_initialized():
            _connect()


def _connect() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if os.environ.get("RAY_ADDRESS"):
        # A submitted job has the variables of its runtime environment already: Ray refuses a second mention otherwise.
        os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
        ray.init(runtime_env={"env_vars": storage.environment()}, logging_level=logging.WARNING, log_to_driver=False)
    else:
        # No machine of this cluster is taken away with notice, and a small run should end when its training does.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
        # Workers started here inherit this process's environment; a runtime environment would start each one anew.
        cores = os.cpu_count() or 1
        start_here(
            num_cpus=max(4, 2 * cores),
            object_store_memory=LOCAL_OBJECT_STORE_BYTES,
        )
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    print(f"ray: {int(cpus())} logical CPUs, {int(gpus())} GPUs", file=sys.stderr)


def start_here(**options: Any) -> None:
    """Start a cluster of this process's own on this machine.

    Ray gives a node half a minute to come up; a busy machine may need more than one try.

    Args:
        options: Of `ray.init`, beside those that hold for every such cluster.
    """
    for tries_left in reversed(range(START_TRIES)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=bool(os.environ.get("RADRAY_WORKER_LOGS")),
                **options,
            )
            return
        except Exception as error:
            if "timed out during startup" not in str(error) or not tries_left:
                raise
            ray.shutdown()


def drop_lost_trackers() -> bool:
    """Take away actors of Ray Data whose node is gone; whether there were any.

    A cluster has one of each for all jobs, bound to the node of the job that came first and kept for ever: without that
    node every later job would fail. What is taken away is made anew by the job that needs it.
    """
    found = False
    for name in _TRACKERS:
        try:
            actor = ray.get_actor(name, namespace=name)
            ray.get(actor.__ray_ready__.remote(), timeout=_TRACKER_S)
        except (ValueError, ray.exceptions.GetTimeoutError):
            continue  # there is none yet; or it is slow
        except ray.exceptions.RayError:
            ray.kill(actor)
            found = True
    return found


def cpus() -> float:
    """Logical CPUs of the cluster."""
    return float(ray.cluster_resources().get("CPU", 1.0))


def gpus() -> float:
    """GPUs of the cluster."""
    return float(ray.cluster_resources().get("GPU", 0.0))


def gpu_places(share: float) -> int:
    """How many workers with such a share of a GPU the nodes hold; a GPU's share lies on one node."""
    return sum(int(node["Resources"].get("GPU", 0.0) / share + 1e-9) for node in ray.nodes() if node["Alive"])


def is_gpu_usable() -> bool:
    """Whether a worker with a GPU finds it by torch; True where all are taken by others for now."""

    @ray.remote(num_cpus=0, num_gpus=0.01, max_retries=0)
    def look() -> bool:
        import torch

        return torch.cuda.is_available()

    try:
        found: bool = ray.get(look.remote(), timeout=_GPU_LOOK_S)
    except ray.exceptions.GetTimeoutError:
        return True
    return found
