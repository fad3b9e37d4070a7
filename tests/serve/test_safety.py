"""Keys, roles, origins, bounds, time limits; and mutated bodies, alone and beside good ones."""

from __future__ import annotations

import asyncio
import random
import re
import stat
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from radray.errors import ConfigError
from radray.review.reviewers import hash_token
from serve.keys import NewKeyConfig, Role, add_key, read_keys
from serve.settings import Settings
from tests.conftest import CHECKOUT
from tests.serve.application import running
from tests.serve.local import LocalService, listening, multipart

QUICK, MANY = 300, 10_000


@pytest.fixture
def guarded(saved_bundle, tmp_path):
    """A service with a key for each role, and the keys."""
    bundle, folder = saved_bundle
    url = str(tmp_path / "keys.csv")
    keys = {role: add_key(NewKeyConfig(keys=url, name=role, roles=(role.value,))) for role in Role}
    return LocalService(bundle, folder, max_body_mib=1, api_keys=url), keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_only_keys_with_the_role_are_answered(guarded, radiographs):
    service, keys = guarded
    for headers in ({}, bearer("wrong"), bearer(""), {"Authorization": f"Basic {keys[Role.PREDICT]}"}):
        reply = service.send("POST", "/v1/region", content=radiographs[0], headers=headers)
        assert (reply.status_code, reply.json()["reason"]) == (401, "unauthorised")
        assert reply.headers["www-authenticate"].startswith("Bearer")
    other = service.send("POST", "/v1/region", content=radiographs[0], headers=bearer(keys[Role.REVIEW]))
    assert (other.status_code, other.json()["reason"]) == (403, "forbidden")
    for url in ("/v1/regions", "/v1/model"):
        assert service.send("GET", url).status_code == 401
        assert service.send("GET", url, headers=bearer(keys[Role.PREDICT]), peer="10.0.0.9").status_code == 200
    relabels = service.send("GET", "/v1/relabels", headers=bearer(keys[Role.RELABEL]))
    assert relabels.status_code == 403 and "RADRAY_ALLOWED_URLS" in relabels.json()["detail"]
    assert service.send("GET", "/v1/relabels", headers=bearer(keys[Role.PREDICT])).json()["detail"].endswith("relabel")
    assert service.send("GET", "/healthz").status_code == 200


def test_without_keys_only_this_machine_is_answered_by_its_own_name(local):
    assert local.send("GET", "/v1/regions").status_code == 200
    assert local.send("GET", "/v1/regions", peer="10.0.0.9").status_code == 403
    assert local.send("GET", "/v1/regions", base_url="http://evil.example").status_code == 403
    assert local.send("GET", "/v1/regions", headers={"X-Forwarded-For": "10.0.0.9"}).status_code == 403


def test_pages_of_other_sites_are_refused(local, radiographs):
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    reply = local.send("POST", "/v1/region", content=radiographs[0], headers=headers)
    assert (reply.status_code, reply.json()["reason"]) == (403, "forbidden")
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert local.send("OPTIONS", "/v1/region", headers=asked).status_code == 405
    assert "access-control-allow-origin" not in reply.headers


def test_the_keys_file_holds_hashes_and_refuses_what_is_wrong(tmp_path):
    url = tmp_path / "keys.csv"
    command = [sys.executable, "-m", "serve.keys", "--keys", str(url), "--name", "orthanc", "--roles", "predict"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    key = re.search(r'"key": "([\w-]{32})"', done.stdout)[1]
    assert key not in url.read_text() and hash_token(key) in url.read_text()
    assert stat.S_IMODE(url.stat().st_mode) == 0o600
    again = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("\n") == 1
    (inline,) = read_keys(f"night:predict+relabel:{hash_token(key)}")
    assert inline.roles == {Role.PREDICT, Role.RELABEL}
    for given, match in (
        (f"a:fly:{'0' * 64}", "give some of predict"),
        (f"a:predict:{'z' * 64}", "64 hex digits"),
        (f"a:predict:{'0' * 64},a:review:{'1' * 64}", "twice"),
        (str(tmp_path / "absent"), "RADRAY_API_KEYS"),
    ):
        with pytest.raises(ConfigError, match=match):
            read_keys(given)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="columns name, roles, key_sha256"):
        read_keys(str(tmp_path / "other.csv"))


def test_bad_settings_are_refused_at_the_start(saved_bundle, monkeypatch):
    with pytest.raises(ConfigError, match="64 hex digits|no such|nothing is there"):
        Settings(bundle=saved_bundle[1], api_keys="absent.csv").check()
    with pytest.raises(ConfigError, match="RADRAY_ALLOWED_URLS holds '/'"):
        Settings(bundle=saved_bundle[1], allowed_urls="/").check()
    monkeypatch.setenv("RADRAY_MAX_BODY_MIB", "many")
    with pytest.raises(ConfigError, match="RADRAY_MAX_BODY_MIB is 'many'"):
        Settings(bundle=saved_bundle[1])


def test_a_proxy_that_hides_who_asks_needs_keys(guarded, saved_bundle, monkeypatch):
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(ConfigError, match="RAY_SERVE_ENABLE_HA_PROXY is set and no keys are"):
        Settings(bundle=saved_bundle[1]).check()
    guarded[0].settings.check()


def send_many(service: LocalService, body: bytes, times: int, refused: int) -> list[httpx.Response]:
    """Requests at once; none is answered by the ensemble before so many were refused."""

    async def ask() -> list[httpx.Response]:
        service.desk, service.ensemble.gate = None, asyncio.Event()
        async with service.client() as client:
            tasks = [asyncio.create_task(client.post("/v1/region", content=body)) for _ in range(times)]
            while sum(task.done() for task in tasks) < refused:
                await asyncio.sleep(0.01)
            service.ensemble.gate.set()
            return await asyncio.gather(*tasks)

    return asyncio.run(ask())


def test_what_is_too_much_gets_429_or_503_with_retry_after(saved_bundle, radiographs):
    bundle, folder = saved_bundle
    for limits, status, reason in (
        ({"max_under_way": 64, "max_under_way_each": 3}, 429, "too_many_requests"),
        ({"max_under_way": 3, "max_under_way_each": 3}, 503, "busy"),
    ):
        service = LocalService(bundle, folder, **limits)
        replies = send_many(service, radiographs[0], 10, 7)
        refused = [reply for reply in replies if reply.status_code == status]
        assert len(refused) == 7, [reply.status_code for reply in replies]
        assert {reply.json()["reason"] for reply in refused} == {reason}
        assert {reply.headers["retry-after"] for reply in refused} == {"2"}
        assert [reply.status_code for reply in replies].count(200) == 3
        service.ensemble.gate = None
        assert service.send("POST", "/v1/region", content=radiographs[0]).status_code == 200


def test_an_ensemble_that_is_too_slow_is_not_waited_for(saved_bundle, radiographs):
    bundle, folder = saved_bundle
    service = LocalService(bundle, folder, answer_s=0.1)
    service.ensemble.delay_s = 3
    reply = service.send("POST", "/v1/region", content=radiographs[0])
    assert (reply.status_code, reply.json()["reason"]) == (503, "ensemble_timeout")
    assert reply.headers["retry-after"] == "2"


def test_a_body_that_does_not_arrive_is_not_waited_for(saved_bundle):
    bundle, folder = saved_bundle
    service = LocalService(bundle, folder, body_s=0.1)

    async def slow():
        yield b"\0" * 100
        await asyncio.sleep(1)

    reply = service.send("POST", "/v1/region", content=slow())
    assert (reply.status_code, reply.json()["reason"]) == (408, "body_timeout")


def test_a_fault_says_nothing_of_the_object(local, radiographs, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("Miller^Ann")

    monkeypatch.setattr("serve.service.prepare_image", fail)
    reply = local.send("POST", "/v1/region", content=radiographs[0])
    assert (reply.status_code, reply.json()["reason"]) == (500, "fault")
    assert "Miller" not in reply.text and "Miller" not in caplog.text


def mutate(body: bytes, dice: random.Random) -> bytes:
    """A body with some damage: bytes changed, cut out, repeated, or its end lost."""
    made = bytearray(body)
    for _ in range(dice.randint(1, 8)):
        place = dice.randrange(min(len(made), 4096) if dice.random() < 0.7 else len(made))
        kind = dice.randrange(4)
        if kind == 0:
            made[place] = dice.randrange(256)
        elif kind == 1:
            del made[place : place + dice.randint(1, 200)]
        elif kind == 2:
            made[place:place] = made[place : place + dice.randint(1, 200)]
        else:
            made[place:] = made[place : place + max(1, dice.randrange(len(made)))]
        made = made or bytearray(b"\0")
    return bytes(made)


class Steady:
    """Good requests at a steady pace beside whatever else is sent, and how long each took."""

    def __init__(self, url: str, body: bytes, pace_s: float) -> None:
        self._url, self._body, self._pace_s = f"{url}/v1/region", body, pace_s
        self.waits_s: list[float] = []

    def __enter__(self) -> Steady:
        self._stop, self._pool = threading.Event(), ThreadPoolExecutor(1)
        self._asking = self._pool.submit(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._asking.result()
        self._pool.shutdown()

    @property
    def p50_s(self) -> float:
        return statistics.median(self.waits_s)

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stop.wait(self._pace_s):
                started = time.monotonic()
                reply = client.post(self._url, content=self._body)
                self.waits_s.append(time.monotonic() - started)
                assert reply.status_code == 200, reply.text


def send_mutated(url: str, bodies: list[bytes], times: int) -> dict[int, int]:
    """Send mutated bodies one after the other: good answers, or problems below 500; how often each status."""
    dice, seen = random.Random(0), {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(times):
            body = mutate(bodies[number % len(bodies)], dice)
            if number % 4 == 3:
                made, headers = multipart([body, bodies[0]])
                sent = mutate(made, dice) if number % 8 == 7 else made
                reply = client.post("/v1/studies", content=sent, headers=headers)
            else:
                kind = ("application/dicom", "image/png", "image/jpeg")[number % 3 if number % 5 == 0 else 0]
                reply = client.post("/v1/region", content=body, headers={"Content-Type": kind})
            assert reply.status_code < 500, (number, reply.text)
            seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
            if reply.status_code >= 400 and "dicom+json" not in reply.headers["content-type"]:
                assert reply.headers["content-type"] == "application/problem+json", number
                assert reply.json()["reason"] and reply.json()["status"] == reply.status_code
    return seen


def survive(url: str, bodies: list[bytes], times: int, *, pace_s: float, alone_s: float) -> float:
    """Good requests alone, then beside mutated bodies; the second median latency over the first."""
    with Steady(url, bodies[0], pace_s) as alone:
        time.sleep(alone_s)
    started = time.monotonic()
    with Steady(url, bodies[0], pace_s) as beside:
        seen = send_mutated(url, bodies, times)
    print(f"{times} mutated bodies in {time.monotonic() - started:.0f} s: {seen}")
    for name, each in (("alone", alone), ("beside them", beside)):
        print(f"good requests {name}: {len(each.waits_s)}, p50 {1000 * each.p50_s:.1f} ms")
    assert seen.get(422, 0) and seen.get(415, 0) and seen.get(200, 0)
    assert httpx.post(f"{url}/v1/region", content=bodies[0], timeout=60).status_code == 200
    return beside.p50_s / alone.p50_s


def test_mutated_bodies_get_reasons_and_the_service_stays_up(local, radiographs):
    with listening(local) as url:
        survive(url, radiographs, QUICK, pace_s=0.05, alone_s=0.5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_bodies_hold_no_good_request_up(ray_cluster, saved_bundle, radiographs):
    with running(saved_bundle[1]) as url:
        assert survive(url, radiographs, MANY, pace_s=0.1, alone_s=30) <= 2


def test_pages_open_without_a_key_and_ask_nobody_else(guarded):
    service, _ = guarded
    reply = service.send("GET", "/", peer="10.0.0.9")
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for name in ("page.js", "page.css"):
        body = service.send("GET", f"/page/{name}").text
        assert not re.search(r"https?://(?!www\.w3\.org)", body)
    assert service.send("GET", "/page/..%2fsettings.py").status_code == 404
    assert (Path(CHECKOUT) / "serve" / "pages" / "index.html").is_file()
