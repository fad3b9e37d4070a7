from __future__ import annotations

import asyncio
import json
import socket
import uuid

import httpx
import pytest

from radray import storage
from radray.errors import ConfigError
from radray.review.config import ReviewConfig
from radray.review.desk import ReviewDesk
from radray.review.queue import item_id
from radray.review.reviewers import Reviewers, add_reviewers, hash_token, read_reviewers
from radray.review.server import review_app, run_review
from radray.review.verdict_file import VerdictFile
from radray.review.verdicts import OUTSIDE, Verdict, parse_verdicts, settled_outcomes
from tests.review.small_queue import write_small_queue


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return write_small_queue(tmp_path_factory.mktemp("queue"), controls=15)


@pytest.fixture
def desk(findings, tmp_path):
    known = Reviewers({"Ann": hash_token("ann"), "Ben": hash_token("ben")}, shared_token="all")
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        yield ReviewDesk(findings, file, known)


class Client:
    """Asks the application without a socket."""

    def __init__(self, app):
        self.transport = httpx.ASGITransport(app)

    def ask(self, method, path, **given):
        async def one():
            async with httpx.AsyncClient(transport=self.transport, base_url="http://127.0.0.1:8765") as client:
                return await client.request(method, path, **given)

        return asyncio.run(one())

    def get(self, path, **given):
        return self.ask("GET", path, **given)

    def post(self, path, **given):
        return self.ask("POST", path, **given)


@pytest.fixture
def client(desk):
    return Client(review_app(desk))


def by(token, name=None):
    return {"X-Radray-Token": token} | ({"X-Radray-Reviewer": name} if name else {})


def first_items(client):
    return client.get("/queue", headers=by("ann")).json()["items"]


def verdict(item, kind="confirm", **more):
    return {"id": uuid.uuid4().hex, "item": item["id"], "verdict": kind, **more}


def test_a_verdict_is_on_the_disk_when_the_answer_is_out(client, desk):
    item = first_items(client)[0]
    given = verdict(item, "correct", region="hand", comment='he said "no",\nreally', blind=True)
    assert client.post("/verdicts", json=given, headers=by("ann")).json() == {"others": []}
    (written,) = parse_verdicts(storage.read_bytes(desk.file.url), "file")
    assert written.uri.startswith("/archive/")
    assert (written.reviewer, written.region, written.blind) == ("Ann", "hand", "yes")
    assert written.comment == 'he said "no", really'
    own = client.get("/verdicts", headers=by("ann")).json()["own"]
    assert [(row["item"], row["region"]) for row in own] == [(item["id"], "hand")]


def test_a_verdict_that_is_sent_twice_counts_once(client, desk):
    given = verdict(first_items(client)[0])
    for _ in range(3):
        assert client.post("/verdicts", json=given, headers=by("ann")).status_code == 200
    assert len(parse_verdicts(storage.read_bytes(desk.file.url), "file")) == 1


def test_nobody_sees_another_opinion_before_having_one(client):
    one, other = first_items(client)[:2]
    client.post("/verdicts", json=verdict(one), headers=by("ann"))
    client.post("/verdicts", json=verdict(other), headers=by("ann"))
    assert client.get("/verdicts", headers=by("ben")).json() == {"own": [], "others": []}
    (seen,) = client.post("/verdicts", json=verdict(one, "out_of_domain"), headers=by("ben")).json()["others"]
    assert (seen["reviewer"], seen["verdict"]) == ("Ann", "confirm")
    assert {row["item"] for row in client.get("/verdicts", headers=by("ben")).json()["others"]} == {one["id"]}
    assert client.post("/verdicts", json=verdict(one, "undo"), headers=by("ben")).json() == {"others": []}
    assert client.get("/verdicts", headers=by("ben")).json()["others"] == []


def test_strangers_are_refused(client, desk):
    for path in ("/queue", "/verdicts", "/picture/0", "/agreement", "/accuracy"):
        assert client.get(path).status_code == 403
        assert client.get(path, headers=by("wrong")).status_code == 403
        assert client.get(path, headers=by("ann") | {"Host": "evil.example"}).status_code == 403
    assert client.post("/verdicts", json={}, headers=by("wrong")).status_code == 403
    assert client.get("/docs").status_code == 404
    assert storage.read_bytes(desk.file.url) == b""


def test_a_token_s_name_is_not_typed_and_a_shared_one_needs_a_name(client, desk):
    item = first_items(client)[0]
    client.post("/verdicts", json=verdict(item), headers=by("ann", "Mallory"))
    assert client.post("/verdicts", json=verdict(item), headers=by("all")).status_code == 400
    assert client.post("/verdicts", json=verdict(item), headers=by("all", "Z%C3%B6e")).status_code == 200
    assert [each.reviewer for each in desk.file.verdicts] == ["Ann", "Zöe"]


def test_what_is_no_verdict_is_refused(client, desk):
    item = first_items(client)[0]
    for body in (
        verdict(item, "maybe"),
        verdict(item, "correct", region="nose"),
        verdict(item) | {"item": "feed"},
        verdict(item) | {"id": "short"},
        ["list"],
    ):
        assert client.post("/verdicts", json=body, headers=by("ann")).status_code == 400
    long = verdict(item, comment="x" * 20_000)
    assert client.post("/verdicts", json=long, headers=by("ann")).status_code == 413
    assert desk.file.verdicts == []


def test_answers_are_kept_nowhere_and_nothing_inline_runs(client):
    for path in ("/", "/review.js", "/review.css", "/queue", "/picture/3"):
        answer = client.get(path, headers=by("ann"))
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy
    assert client.get("/picture/3", headers=by("ann")).content[:4] == b"\x89PNG"
    assert client.get("/picture/99999", headers=by("ann")).status_code == 404


def test_pictures_of_another_audit_are_not_shown(tmp_path):
    findings = write_small_queue(tmp_path, suspects=3, controls=1)
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        client = Client(review_app(ReviewDesk(findings, file, Reviewers({"Ann": hash_token("ann")}))))
        assert client.get("/picture/0", headers=by("ann")).status_code == 200
        write_small_queue(tmp_path, suspects=3, controls=2)
        assert client.get("/picture/0", headers=by("ann")).status_code == 410
    assert len(storage.list_files(storage.join(findings, "review"), ".bin")) == 1


def test_the_page_cannot_tell_suspects_from_controls(client, findings):
    answer = client.get("/queue", headers=by("ann"))
    text = answer.text
    for word in ("control", "suspect", "rank", "score", "label_error", "SMITH", "archive"):
        assert word not in text
    fields = {json.dumps(sorted(item)) for item in answer.json()["items"]}
    assert len(fields) == 1


def test_verdicts_on_images_that_are_not_on_the_page_stay_in_the_file(tmp_path):
    findings = write_small_queue(tmp_path, suspects=3, controls=3, limit=2)
    beyond = next(row for row in storage.read_table(findings).to_pylist() if row["rank"] == 3)
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        file.append(Verdict(uri=beyond["uri"], reviewer="Ann", verdict="unsure"))
        desk = ReviewDesk(findings, file, Reviewers({}))
        assert desk.verdicts("Ann") == {"own": [], "others": []}
        assert desk.summary()["rows_out"] == 1


def test_accuracy_and_agreement_are_told(client):
    items = first_items(client)
    for item in items:
        client.post("/verdicts", json=verdict(item, "confirm"), headers=by("ann"))
    for item in items[:10]:
        client.post("/verdicts", json=verdict(item, "unsure" if item is items[0] else "confirm"), headers=by("ben"))
    client.post("/verdicts", json=verdict(items[10], "out_of_domain"), headers=by("ben"))
    (pair,) = client.get("/agreement", headers=by("ann")).json()["pairs"]
    assert (pair["reviewers"], pair["images"]) == (["Ann", "Ben"], 10)
    assert pair["agreement"] == 0.9
    assert client.get("/accuracy", headers=by("ben")).json() == {"open": 24}
    accuracy = client.get("/accuracy", headers=by("ann")).json()
    assert accuracy["suspects_judged"] + accuracy["controls_judged"] == 34
    assert accuracy["label_accuracy"]["value"] == 1
    assert accuracy["label_accuracy"]["low"] < 0.99


def test_offline_verdicts_are_taken_in_once_and_summed_up(findings, tmp_path):
    rows = storage.read_table(findings).to_pylist()[:4]
    lines = ["uri,reviewer,verdict,region"] + [f"{row['uri']},Cleo,confirm,{row['label']}" for row in rows]
    offline = tmp_path / "offline.csv"
    offline.write_text("\n".join(lines) + "\n")
    config = ReviewConfig(
        findings=findings, verdicts=str(tmp_path / "all.csv"), merge=(str(offline), str(offline)), summary=True
    )
    config.check()
    summary = run_review(config)
    assert (summary["rows_in"], summary["rows_out"], summary["by_reviewer"]) == (35, 4, {"Cleo": 4})
    assert run_review(config) == summary
    assert summary["accuracy"]["labelled"] == 1750


def test_reviewers_are_added_once_and_their_tokens_stand_nowhere(tmp_path):
    url = str(tmp_path / "reviewers.csv")
    tokens = add_reviewers(url, ["Ann", " Ben ", "Ann"])
    assert list(tokens) == ["Ann", "Ben"]
    assert add_reviewers(url, ["Ann", "Cleo"]).keys() == {"Cleo"}
    text = (tmp_path / "reviewers.csv").read_text()
    assert not any(token in text for token in tokens.values())
    known = Reviewers(read_reviewers(url))
    assert known.identify(tokens["Ben"]) == (True, "Ben")
    assert known.identify(tokens["Ben"][:-1]) == known.identify("") == (False, None)
    for bad in ("", "x" * 61, "a\nb"):
        with pytest.raises(ConfigError, match="printable"):
            add_reviewers(url, [bad])
    (tmp_path / "reviewers.csv").write_text("name,token_sha256\nAnn,123\n")
    with pytest.raises(ConfigError, match="64 hex digits"):
        read_reviewers(url)


def test_what_cannot_be_served_is_said_before_any_work(findings, tmp_path):
    with pytest.raises(ConfigError, match="--port is 70000"):
        ReviewConfig(findings=findings, port=70000)
    with pytest.raises(ConfigError, match="run jobs/audit.py first"):
        ReviewConfig(findings=str(tmp_path), verdicts=str(tmp_path / "v.csv")).check()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port} cannot be used"):
            run_review(ReviewConfig(findings=findings, verdicts=str(tmp_path / "v.csv"), port=port))


def test_a_verdict_on_an_image_that_left_the_page_is_taken(tmp_path):
    findings = write_small_queue(tmp_path, suspects=3, controls=3, limit=2)
    beyond = next(row for row in storage.read_table(findings).to_pylist() if row["rank"] == 3)
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        desk = ReviewDesk(findings, file, Reviewers({}))
        desk.give("Ann", verdict({"id": item_id(beyond["row_id"])}))
        # The page was older: what it showed as the label counts.
        desk.give("Ann", verdict({"id": item_id(beyond["row_id"])}, region="hand"))
        assert [(each.uri, each.region) for each in file.verdicts] == [
            (beyond["uri"], beyond["label"]),
            (beyond["uri"], "hand"),
        ]
        with pytest.raises(ConfigError, match="not among these findings"):
            desk.give("Ann", verdict({"id": "feed"}))


def test_what_a_server_refused_comes_in_by_merge(findings, tmp_path):
    row = storage.read_table(findings).to_pylist()[0]
    exported = tmp_path / "refused.csv"
    lines = [f"item:{item_id(row['row_id'])},Cleo,out_of_domain,", "item:feed,Cleo,unsure,"]
    exported.write_text("\n".join(["uri,reviewer,verdict,region", *lines]) + "\n")
    verdicts = str(tmp_path / "all.csv")
    config = ReviewConfig(findings=findings, verdicts=verdicts, merge=(str(exported),), summary=True)
    assert run_review(config)["rows_out"] == run_review(config)["rows_out"] == 1
    assert settled_outcomes(parse_verdicts(storage.read_bytes(verdicts), "file")) == {row["uri"]: OUTSIDE}


def test_suspects_that_the_page_does_not_show_are_told(tmp_path):
    findings = write_small_queue(tmp_path, suspects=30, controls=12, limit=25)
    rows = storage.read_table(findings).to_pylist()
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        desk = ReviewDesk(findings, file, Reviewers({}))
        (note,) = json.loads(desk.queue("Ann"))["notes"]
        assert note.startswith("5 more suspected labels than this page shows")
        for item in json.loads(desk.queue("Ann"))["items"]:
            desk.give("Ann", verdict(item))
        found = desk.accuracy("Ann")
        assert (found["suspects_not_shown"], found["suspects_waiting"]) == (5, 5)
        assert found["label_accuracy"]["value"] is None
        for row in rows[25:30]:
            desk.give("Ann", verdict({"id": item_id(row["row_id"])}))
        found = desk.accuracy("Ann")
        assert (found["suspects_not_shown"], found["label_accuracy"]["value"]) == (0, 1)
        assert json.loads(desk.queue("Ann"))["notes"] == []
