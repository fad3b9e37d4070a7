"""Objects that hurt whoever reads them: each a row with its reason, in time, and nothing for the others to notice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.dicom.pixels import PixelLimits
from radray.images.prepare import prepare_image
from radray.score.config import ScoreConfig
from radray.score.versions import latest_predictions
from tests.score.many_objects import draw_bodies
from tests.score.poison import poisons
from tests.score.test_score import write_bundle

REASONS = {
    "plain_promise": "too_large",
    "j2k_promise": "too_large",
    "j2k_promise_inside": "too_large",
    "jpeg_promise_inside": "too_large",
    "jpegls_promise_inside": "too_large",
    "rle_promise": "corrupt_pixels",
    "jpeg_endless": "decode_timeout",
    "jpegls_noise": "corrupt_pixels",
    "j2k_cut": "corrupt_pixels",
    "deflate_bomb": "odd_shape",
    "frames_promise": "too_large",
}


@pytest.fixture(scope="module")
def harmful() -> dict[str, bytes]:
    return poisons()


def test_each_has_its_reason_within_the_time_limit(harmful: dict[str, bytes]) -> None:
    cleaning, limits = CleaningConfig(side_px=32, working_px=64), PixelLimits(timeout_s=1.5)
    good = next(
        body for body in draw_bodies(20) if prepare_image(body, cleaning, limits=limits)["status"] == "ok"
    )  # and with it the child that decodes is there
    found = {}
    for name, body in harmful.items():
        started = time.monotonic()
        found[name] = prepare_image(body, cleaning, limits=limits)
        assert time.monotonic() - started < limits.timeout_s + 3, name
        assert "Mustermann" not in str(found[name]["message"])
        assert prepare_image(good, cleaning, limits=limits)["status"] == "ok", f"after {name}"
    assert {name: row["reason"] for name, row in found.items()} == REASONS


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_cluster")
def test_among_others_they_cost_no_more_than_their_time(harmful: dict[str, bytes], tmp_path: Path) -> None:
    from radray.score.stage import run_score

    archive = tmp_path / "archive"
    for number, body in enumerate(draw_bodies(40) * 5):
        storage.write_bytes(str(archive / "good" / f"{number:03d}.dcm"), body)
    write_bundle(str(tmp_path / "bundle"))
    job = ScoreConfig(
        archive=str(archive),
        bundle=str(tmp_path / "bundle"),
        output=str(tmp_path / "peace"),
        patient_key="none",
        max_workers=1,
    )
    started = time.monotonic()
    run_score(job)
    peace_s = time.monotonic() - started
    expected = storage.read_table(latest_predictions(job.output)).sort_by("uri").to_pylist()
    for name, body in harmful.items():
        storage.write_bytes(str(archive / "harmful" / f"{name}.dcm"), body)
    other = ScoreConfig(**{**vars(job), "output": str(tmp_path / "harmed")})
    started = time.monotonic()
    summary = run_score(other)
    harmed_s = time.monotonic() - started
    print(f"{peace_s:.0f} s in peace, {harmed_s:.0f} s with {len(harmful)} harmful objects")
    rows = storage.read_table(latest_predictions(other.output)).sort_by("uri").to_pylist()
    assert summary["rows_in"] == len(rows) == 200 + len(harmful)
    own = {Path(row["uri"]).stem: row["reason"] for row in rows if "/harmful/" in row["uri"]}
    # Several frames are told by the header, before any pixel is looked at.
    assert own == {**REASONS, "frames_promise": "not_radiograph"}
    others = [row for row in rows if "/good/" in row["uri"]]
    for row, twin in zip(others, expected, strict=True):
        assert (row["uri"], row["status"], row["reason"], row["region"]) == (
            twin["uri"], twin["status"], twin["reason"], twin["region"],
        )  # fmt: skip
    # One hangs for its 30 s; the others are told apart from their headers or in a blink.
    assert harmed_s < 2 * peace_s + PixelLimits().timeout_s + 20
