"""The manifests are what KubeRay takes, agree with each other and with the code; the image gets what it needs."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from radray import cli
from radray.errors import ConfigError
from radray.score.config import ScoreConfig
from radray.version import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
CLUSTER = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
"""Kind → field that holds the cluster."""
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123, a DNS label."""


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(params=["rayjob.yaml", "rayservice.yaml"])
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"][CLUSTER[manifest["kind"]]]


def groups(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "head", cluster(manifest)["headGroupSpec"]
    for group in cluster(manifest)["workerGroupSpecs"]:
        yield group["groupName"], group


def containers(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, group in groups(manifest):
        yield from group["template"]["spec"]["containers"]


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (CHECKOUT / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert found
    return found[1]


def test_kind_version_and_names(manifest: dict[str, Any]) -> None:
    assert manifest["apiVersion"] == "ray.io/v1"
    assert LABEL.fullmatch(manifest["metadata"]["name"])
    names = [name for name, _ in groups(manifest)]
    assert all(LABEL.fullmatch(name) for name in names) and len(names) == len(set(names))
    for one in containers(manifest):
        assert LABEL.fullmatch(one["name"])
        assert all(LABEL.fullmatch(port["name"]) and len(port["name"]) <= 15 for port in one.get("ports", ()))


def test_the_cluster_runs_the_pinned_ray_and_this_version(manifest: dict[str, Any]) -> None:
    assert cluster(manifest)["rayVersion"] == pinned("ray") == importlib.metadata.version("ray")
    assert {one["image"].rpartition(":")[2] for one in containers(manifest)} == {__version__}


def test_start_parameters_are_strings_as_the_operator_wants_them(manifest: dict[str, Any]) -> None:
    for _, group in groups(manifest):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_worker_groups_grow_within_their_bounds(manifest: dict[str, Any]) -> None:
    assert cluster(manifest)["enableInTreeAutoscaling"] is True
    for group in cluster(manifest)["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_nothing_is_privileged_and_no_root_is_written_to(manifest: dict[str, Any]) -> None:
    for one in containers(manifest):
        context = one["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] > 0 and context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")
    for _, group in groups(manifest):
        spec = group["template"]["spec"]
        assert not spec.get("hostNetwork") and not any("hostPath" in volume for volume in spec["volumes"])
        mounted = {mount["mountPath"]: mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
        assert {"/tmp", "/home/radray"} <= set(mounted)
        assert set(mounted.values()) <= {volume["name"] for volume in spec["volumes"]}


def test_memory_is_bounded_and_gpus_are_asked_for_where_the_group_is_called_so(manifest: dict[str, Any]) -> None:
    for name, group in groups(manifest):
        (one,) = group["template"]["spec"]["containers"]
        resources = one["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert ("nvidia.com/gpu" in resources["limits"]) == (name == "gpu")


def test_no_secret_stands_in_a_manifest(manifest: dict[str, Any]) -> None:
    for one in containers(manifest):
        for variable in one["env"]:
            assert "value" not in variable or not re.search(r"KEY|SECRET|TOKEN|PASSWORD", variable["name"])
        assert all("secretRef" in source for source in one["envFrom"])


def test_every_variable_is_documented(manifest: dict[str, Any]) -> None:
    text = (CHECKOUT / "README.md").read_text()
    names = {variable["name"] for one in containers(manifest) for variable in one["env"]}
    assert names and all(f"`{name}`" in text for name in names)


def test_a_decode_node_has_two_logical_cpus_for_each_core() -> None:
    for group in cluster(read("rayjob.yaml"))["workerGroupSpecs"]:
        cores = int(group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        assert int(group["rayStartParams"]["num-cpus"]) == 2 * cores
    launch = yaml.safe_load((CHECKOUT / "cluster.yaml").read_text())["available_node_types"]
    assert {launch[name]["resources"]["CPU"] for name in ("decode", "gpu")} == {32}, "16 cores each"


def test_the_entrypoint_is_a_command_of_the_score_job() -> None:
    program, script, *options = shlex.split(read("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "python"
    home = workdir()
    assert script.startswith(f"{home}/") and (CHECKOUT / script.removeprefix(f"{home}/")).is_file()
    config = cli.parse(ScoreConfig, options)
    assert all(url and url.startswith("s3://") for url in (config.index, config.bundle, config.output))
    with pytest.raises(ConfigError, match="--bundel"):
        cli.parse(ScoreConfig, ["--bundel" if option == "--bundle" else option for option in options])


def test_a_job_that_fails_is_tried_again_and_its_cluster_goes_away() -> None:
    spec = read("rayjob.yaml")["spec"]
    assert spec["backoffLimit"] > 0 and spec["shutdownAfterJobFinishes"] is True
    decode = next(group for group in spec["rayClusterSpec"]["workerGroupSpecs"] if group["groupName"] == "decode")
    assert decode["replicas"] > 0, "a pass plans its workers by the nodes that are there when it begins"


def test_the_service_runs_what_serve_deploy_would() -> None:
    from ray.serve.schema import ServeDeploySchema

    given = yaml.safe_load(read("rayservice.yaml")["spec"]["serveConfigV2"])
    assert given == yaml.safe_load((CHECKOUT / "serve" / "config.yaml").read_text())
    assert ServeDeploySchema(**given).applications[0].import_path == "serve.app:app"
    port = given["http_options"]["port"]
    for name, group in groups(read("rayservice.yaml")):
        (one,) = group["template"]["spec"]["containers"]
        assert port in [entry["containerPort"] for entry in one["ports"]]
        if name != "head":
            assert one["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": port}


def containerfile() -> list[list[str]]:
    text = (DEPLOY / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [line.split(maxsplit=1) for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines() if line.strip()]


def workdir() -> str:
    return next(rest for word, rest in containerfile() if word == "WORKDIR")


def ignored(path: str) -> bool:
    patterns = [line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    parents = [path, *map(str, Path(path).parents)]
    return any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parents for pattern in patterns) or any(
        pattern.startswith("**/") and pattern[3:] in Path(path).parts for pattern in patterns
    )


def test_the_image_takes_tracked_files_that_are_there() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    copied = [source.rstrip("/") for word, rest in containerfile() if word == "COPY" for source in rest.split()[:-1]]
    assert {"radray", "serve", "jobs", "requirements.txt", "pyproject.toml", "Makefile"} <= set(copied)
    for source in copied:
        assert (CHECKOUT / source).exists() and not ignored(source)
        assert any(path == source or path.startswith(f"{source}/") for path in tracked), f"{source} is not in git"
    project = (CHECKOUT / "pyproject.toml").read_text()
    for name in re.findall(r'^(?:readme|license-files) = \[?"([^"]+)"', project, flags=re.MULTILINE):
        assert name in copied, "setuptools reads it"


@pytest.mark.parametrize("path", [".venv/bin/python", ".git/config", "demo/report.html", "radray/__pycache__/a.pyc"])
def test_the_image_does_not_take(path: str) -> None:
    assert ignored(path)


def test_code_is_not_left_out_of_the_image() -> None:
    assert not any(ignored(path) for path in ("radray/cli.py", "jobs/score.py", "serve/app.py", "requirements.txt"))


def test_the_image_runs_as_a_numbered_user_with_the_environment_on_its_path() -> None:
    steps = containerfile()
    assert steps[0][0] == "FROM" and "python:3.11-slim" in steps[0][1]
    (user,) = [rest for word, rest in steps if word == "USER"]
    assert int(user) == next(containers(read("rayjob.yaml")))["securityContext"]["runAsUser"]
    assert any(word == "ENV" and f"PATH={workdir()}/.venv/bin" in rest for word, rest in steps)
    assert any(word == "RUN" and "make setup" in rest for word, rest in steps)
    assert not any(word in ("ADD", "HEALTHCHECK") for word, _ in steps)
