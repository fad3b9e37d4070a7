"""cluster.yaml is what Ray's launcher takes, and its nodes are those that the README speaks of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def launch() -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import ray.autoscaler

    return json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())


def test_it_follows_rays_schema(launch: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(launch, schema)


@pytest.mark.parametrize("change", [{"max_workers": "many"}, {"no_such_key": 1}, {"provider": {}}])
def test_the_schema_finds_mistakes(launch: dict[str, Any], schema: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**launch, **change}, schema)


def test_ray_itself_accepts_it(launch: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(launch))


def test_decode_nodes_have_no_gpu_and_some_are_there_when_a_job_begins(launch: dict[str, Any]) -> None:
    types = launch["available_node_types"]
    assert launch["head_node_type"] in types
    assert types["decode"]["resources"]["CPU"] > 0 and "GPU" not in types["decode"]["resources"]
    assert types["gpu"]["resources"]["GPU"] > 0
    assert types["gpu"]["min_workers"] == 0 < types["decode"]["min_workers"]
    for name in ("decode", "gpu"):
        assert types[name]["min_workers"] < types[name]["max_workers"] <= launch["max_workers"]
    assert any("make setup" in command for command in launch["setup_commands"])
