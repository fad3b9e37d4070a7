from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa

from radray import storage
from radray.audit.findings import FINDINGS_SCHEMA
from radray.review import page
from radray.review.checks import LabelChecks
from radray.review.pictures import PictureReader
from radray.review.queue import BLOCK, CONTROL, SUSPECT, TO_LEARN, choose_rows, item_id, mix_queue, page_issue
from radray.review.verdicts import Verdict
from tests.report.test_attention import bundle_of
from tests.review.small_queue import MARKUP, TITLES, small_findings, write_small_queue


def queue_of(findings):
    return storage.read_json(storage.join(findings, "review", "items.json"))


def offline_data(findings):
    html = storage.read_bytes(storage.join(findings, "review.html")).decode()
    return html, json.loads(re.search(r'id="queue-data">(.*?)</script>', html, re.S)[1])


def test_controls_fall_anywhere_and_suspicion_falls_along():
    suspects = [{"kind": "suspect", "rank": rank} for rank in range(300)]
    controls = [{"kind": "control", "rank": rank} for rank in range(100)]
    places, shares = [], []
    for seed in range(60):
        mixed = mix_queue(suspects, controls, seed)
        assert sorted(row["rank"] for row in mixed if row["kind"] == "suspect") == list(range(300))
        places += [place for place, row in enumerate(mixed) if row["kind"] == "control"]
        shares.append(sum(row["kind"] == "control" for row in mixed[:100]) / 100)
        ranks = [row["rank"] for row in mixed if row["kind"] == "suspect"]
        assert max(abs(place - rank) for place, rank in enumerate(ranks)) < BLOCK
    # Uniform over 400 places: mean 199.5, standard deviation 115.5 of 6,000 draws.
    assert abs(np.mean(places) - 199.5) < 5
    assert abs(np.mean(shares) - 0.25) < 0.02
    assert mix_queue(suspects, controls, 1) == mix_queue(suspects, controls, 1) != mix_queue(suspects, controls, 2)
    assert mix_queue(suspects, [], 1) == suspects


def test_fewer_rows_are_the_first_of_each_issue():
    uris = [f"/{place}" for place in range(100)]
    found = pa.Table.from_pylist(small_findings(uris, 30, 20, 10), schema=FINDINGS_SCHEMA)
    rows = choose_rows(found, limit=8, seed=0)
    assert {issue: sum(row["issue"] == issue for row in rows) for issue in (SUSPECT, CONTROL, "missing_label")} == {
        SUSPECT: 8,
        CONTROL: 8,
        "missing_label": 8,
    }
    assert all(row["rank"] <= 8 for row in rows)
    assert [row["issue"] for row in rows[16:]] == ["missing_label"] * 8 + ["out_of_domain"] * 8


def test_the_server_s_files_name_no_path_and_the_pictures_are_there(tmp_path):
    findings = write_small_queue(tmp_path, others=3)
    queue = queue_of(findings)
    assert len(queue["items"]) == 36
    assert "SMITH" not in json.dumps(queue)
    pictures = PictureReader(storage.join(findings, "review"))
    for item in queue["items"]:
        assert all(
            pictures.read(number)[:4] == b"\x89PNG"
            for number in (item["picture"], item["thumb"], *(near for near, *_ in item["near"]))
        )
    notes = {item["issue"]: item["note"] for item in queue["items"]}
    assert notes["label_check"] == ""
    assert notes["out_of_domain"] == "looks like none of the regions, farther out than 98.0 % of known images"


def test_the_one_file_page_is_closed_and_header_strings_are_text(tmp_path):
    html, data = offline_data(write_small_queue(tmp_path, station=MARKUP, others=2))
    assert MARKUP not in html
    assert "http://" not in html and "https://" not in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert "unsafe" not in policy and "default-src &#39;none&#39;" in policy
    assert data["left_out"] == 0
    for item in data["items"]:
        assert item["uri"].startswith("/archive/")
        assert data["pictures"][str(item["picture"])].startswith("data:image/png;base64,")


def test_the_one_file_page_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "OFFLINE_BYTES", 100_000)
    html, data = offline_data(write_small_queue(tmp_path))
    assert 0 < len(data["items"]) < 30
    assert data["left_out"] == 30 - len(data["items"])
    assert len(html) < 200_000


def test_heat_maps_of_suggestion_and_label_come_for_suspects_and_controls_alike(tmp_path):
    bundle = str(tmp_path / "bundle")
    bundle_of("resnet10", side=48).save(bundle)
    findings = write_small_queue(tmp_path, suspects=6, controls=3, bundle_url=bundle)
    items = queue_of(findings)["items"]
    pictures = PictureReader(storage.join(findings, "review"))
    assert len(items) == 9
    for item in items:
        suggestion, label = item["heat"]
        assert suggestion != label
        assert pictures.read(suggestion)[:4] == pictures.read(label)[:4] == b"\x89PNG"
    other = write_small_queue(tmp_path / "other", suspects=6, controls=3, side=32, bundle_url=bundle)
    assert all(item["heat"] == [None, None] for item in queue_of(other)["items"])


def test_a_copy_is_shown_by_the_picture_of_its_twin(tmp_path):
    findings = write_small_queue(tmp_path)
    first = storage.read_table(findings).to_pylist()[0]
    twin = {"of": first["row_id"], "equal_pixels": True, "across_patients": True, "kind": "exact"}
    copy = first | {"uri": "/copy", "row_id": 5, "issue": "near_duplicate", "evidence": json.dumps(twin)}
    found = pa.Table.from_pylist([first, copy], schema=FINDINGS_SCHEMA)
    assert page.write_review_page(findings, found, str(tmp_path / "images"), TITLES, 10) == 2
    check, duplicate = queue_of(findings)["items"]
    assert check["picture"] == duplicate["picture"]
    assert duplicate["note"] == "same pixels as the image beside it, of another patient"


def test_an_image_without_picture_is_left_out(tmp_path):
    findings = write_small_queue(tmp_path)
    found = storage.read_table(findings)
    more = pa.Table.from_pylist(small_findings([f"/gone/{n}" for n in range(9)], 9, 0), schema=FINDINGS_SCHEMA)
    shown = page.write_review_page(findings, pa.concat_tables([found, more]), str(tmp_path / "images"), TITLES, 10_000)
    assert shown == 30
    assert item_id(more["row_id"][0].as_py()) not in {item["id"] for item in queue_of(findings)["items"]}


def test_what_later_rounds_suspect_does_not_stand_for_the_first(tmp_path):
    findings = write_small_queue(tmp_path)
    found = storage.read_table(findings).to_pylist()
    later = [row | {"round": 1} if row["issue"] == SUSPECT and row["rank"] > 12 else row for row in found]
    storage.write_table(storage.join(findings, "findings.parquet"), pa.Table.from_pylist(later, schema=FINDINGS_SCHEMA))
    checks = LabelChecks.load(findings)
    assert sum(row["issue"] == SUSPECT for row in checks.found) == 12
    assert [row["rank"] for row in checks.found if row["issue"] == CONTROL] == list(range(1, 11))
    storage.remove(storage.join(findings, "queue.json"))
    assert LabelChecks.load(findings) is None


def test_images_to_learn_from_come_first_and_each_image_once(tmp_path):
    uris = [f"/{place}" for place in range(60)]
    rows = small_findings(uris, 30, 20)
    learn = [row | {"issue": TO_LEARN, "rank": rank + 1} for rank, row in enumerate(rows[20:40])]
    found = pa.Table.from_pylist([*rows, *learn], schema=FINDINGS_SCHEMA)
    shown = choose_rows(found, limit=1000, seed=0)
    assert len(shown) == len({row["uri"] for row in shown}) == 50
    assert {page_issue(row["issue"]) for row in shown} == {"label_check"}
    places = {issue: [n for n, row in enumerate(shown) if row["issue"] == issue] for issue in (TO_LEARN, SUSPECT)}
    assert len(places[TO_LEARN]) == 10
    assert np.mean(places[TO_LEARN]) < np.mean(places[SUSPECT])
    storage.write_table(storage.join(str(tmp_path), "findings.parquet"), found)
    counts = {"labelled": 1000, "suspected": 30, "controls": 20, "verdicts_seen": 0}
    storage.write_json(storage.join(str(tmp_path), "queue.json"), counts)
    assert {row["issue"] for row in LabelChecks.load(str(tmp_path)).found} == {SUSPECT, CONTROL}


def confirm(row, **given):
    return Verdict(uri=row["uri"], reviewer="ab", verdict="confirm", region=row["label"], **given)


def test_the_answer_is_the_ensemble_s_own_where_the_findings_name_it(tmp_path):
    findings = write_small_queue(tmp_path, suspects=5, controls=10)
    rows = storage.read_table(findings).to_pylist()
    verdicts = [confirm(row) for row in rows]
    pooled = LabelChecks.load(findings).accuracy(verdicts)
    # The pooled opinion contradicts each suspect and confirms each control; the ensemble's own does neither.
    assert "pools the ensemble" in "".join(pooled["assumed"])
    assert 0.9 < pooled["model_accuracy"]["value"] < 1
    alone = [row | {"evidence": json.dumps(json.loads(row["evidence"]) | {"answer": "hand"})} for row in rows]
    table = pa.Table.from_pylist(alone, schema=FINDINGS_SCHEMA)
    storage.write_table(storage.join(findings, "findings.parquet"), table)
    checks = LabelChecks.load(findings)
    assert {check.answer for check in checks.outcomes(verdicts)} == {"hand"}
    found = checks.accuracy(verdicts)
    assert "the ensemble's own" in "".join(found["assumed"])
    assert found["model_accuracy"]["value"] < 0.3


def test_blindness_is_claimed_only_where_all_verdicts_were_blind(tmp_path):
    findings = write_small_queue(tmp_path, suspects=5, controls=10)
    rows = storage.read_table(findings).to_pylist()
    checks = LabelChecks.load(findings)
    told = [
        "; ".join(
            checks.accuracy([confirm(row, blind="yes" if place < blind else "") for place, row in enumerate(rows)])[
                "assumed"
            ]
        )
        for blind in (0, 7, 15)
    ]
    assert ["0 of 15 verdicts" in told[0], "7 of 15 verdicts" in told[1], "all 15 verdicts" in told[2]] == [True] * 3
    assert "lets a reviewer guess" in told[1] and "lets a reviewer guess" not in told[2]


def test_an_audit_that_began_with_verdicts_estimates_nothing(tmp_path):
    findings = write_small_queue(tmp_path, suspects=5, controls=12)
    verdicts = [confirm(row) for row in storage.read_table(findings).to_pylist()]
    assert LabelChecks.load(findings).accuracy(verdicts)["label_accuracy"] is not None
    counts = storage.read_json(storage.join(findings, "queue.json"))
    storage.write_json(storage.join(findings, "queue.json"), counts | {"verdicts_seen": 40})
    found = LabelChecks.load(findings).accuracy(verdicts)
    assert found["label_accuracy"] is found["model_accuracy"] is found["theoretical_accuracy"] is None
    assert found["not_estimated"].startswith("the audit began with 40 verdicts")


def test_neighbours_have_the_label_that_verdicts_gave_them_and_blindness_goes_with_controls(tmp_path):
    findings = write_small_queue(tmp_path, suspects=4, controls=2)
    queue = queue_of(findings)
    assert queue["blind"] is True
    _, label, known = queue["items"][0]["near"][0]
    found = storage.read_table(storage.join(findings, "findings.parquet"))
    row_id = next(one for one in found["row_id"].to_pylist() if item_id(one) == known)
    alone = found.slice(0, 4)
    page.write_review_page(findings, alone, str(tmp_path / "images"), TITLES, 10, labels_now={row_id: "thumb"})
    again = queue_of(findings)
    assert again["blind"] is False
    shown = {one: name for item in again["items"] for _, name, one in item["near"]}
    assert shown[known] == "thumb" != label
    # What waits in a browser outlives the audit that it was given on.
    assert again["place"] == queue["place"]
