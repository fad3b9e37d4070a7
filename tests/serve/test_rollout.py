"""A bundle rolled out under load, and replicas killed under load: no wrong answer, and hardly any lost one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from radray.ensemble import Bundle
from radray.images.prepare import prepare_image
from tests.serve.application import Load, deploy, kill_replica, running
from tests.serve.local import LocalService

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def service(ray_cluster: None, saved_bundle: tuple[Bundle, str]) -> Iterator[str]:
    with running(saved_bundle[1]) as url:
        yield url


@pytest.fixture(scope="module")
def usable(radiographs: list[bytes], saved_bundle: tuple[Bundle, str], next_bundle: tuple[Bundle, str]) -> list[bytes]:
    cleanings = [bundle.cleaning for bundle, _ in (saved_bundle, next_bundle)]
    return [body for body in radiographs if all(prepare_image(body, each)["status"] == "ok" for each in cleanings)]


def answers_of(bundle: tuple[Bundle, str], bodies: list[bytes]) -> list[dict[str, Any]]:
    """What one bundle answers, without Ray."""
    local = LocalService(*bundle)
    return [local.send("POST", "/v1/region", content=body).json() for body in bodies]


def check_answer(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    """All of an answer is that of one bundle."""
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    numbers = ("confidence", "ood_score", "inverted_probability")
    assert [answer[name] for name in numbers] == pytest.approx([expected[name] for name in numbers], abs=1e-4)
    names = ("region", "code", "abstained", "turned_deg", "inverted", "header_label", "agrees", "bundle")
    assert {name: answer[name] for name in names} == {name: expected[name] for name in names}


def check_current(url: str, bundle: Bundle) -> None:
    """Whatever names a bundle names this one."""
    for route in ("/readyz", "/v1/model", "/healthz"):
        assert httpx.get(url + route, timeout=60).json()["bundle"] == bundle.digest, route
    assert [row["region"] for row in httpx.get(f"{url}/v1/regions", timeout=60).json()] == list(bundle.regions.names)


def test_a_bundle_is_rolled_out_and_back_without_a_dropped_or_a_mixed_answer(
    service: str, usable: list[bytes], saved_bundle: tuple[Bundle, str], next_bundle: tuple[Bundle, str]
) -> None:
    expected = {each[0].digest: answers_of(each, usable) for each in (saved_bundle, next_bundle)}
    assert len(usable) >= 8 and len(expected) == 2
    assert any(answer["inverted"] for answer in expected[next_bundle[0].digest])
    # First with replicas of the next bundle beside those of the old one, then one in place of the other.
    for old, new, surge_percent in ((saved_bundle, next_bundle, 100), (next_bundle, saved_bundle, 0)):
        with Load(service, usable) as load:
            load.wait_for(20)
            before = len(load.replies)
            deploy(new[1], surge_percent=surge_percent)
            meanwhile = len(load.replies)
            load.wait_for(20)
        failed = [None if reply is None else reply.text for _, reply in load.replies if not is_answer(reply)]
        assert not failed, failed[:3]
        answers = [(place, reply.json()) for place, reply in load.replies if reply is not None]
        for place, answer in answers:
            check_answer(answer, expected[answer["bundle"]][place])
        digests = [answer["bundle"] for _, answer in answers]
        assert set(digests[:before]) == {old[0].digest}
        # Those under way when the roll-out had ended may be of the old bundle still.
        assert set(digests[meanwhile + load.at_once :]) == {new[0].digest}
        print(f"surge {surge_percent} %: {meanwhile - before} answers in the roll-out: {Counter(digests)}")
        check_current(service, new[0])


def is_answer(reply: httpx.Response | None) -> bool:
    return reply is not None and reply.status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("deployments", [("Ensemble",), ("Ingress",), ("Ensemble", "Ingress")])
def test_replicas_killed_under_load_cost_no_wrong_answer(
    service: str, usable: list[bytes], saved_bundle: tuple[Bundle, str], deployments: tuple[str, ...]
) -> None:
    expected = answers_of(saved_bundle, usable)
    with Load(service, usable) as load:
        load.wait_for(10)
        for deployment in deployments:
            kill_replica(deployment)
        load.wait_for(30)
    failed = [reply and (reply.status_code, reply.text) for _, reply in load.replies if not is_answer(reply)]
    print(f"{deployments} killed: {len(failed)} of {len(load.replies)} requests failed: {failed}")
    assert len(failed) <= load.at_once, failed
    for place, reply in load.replies:
        if is_answer(reply):
            check_answer(reply.json(), expected[place])
    assert is_answer(httpx.post(f"{service}/v1/region", content=usable[0], timeout=60))
