"""The synthetic archive: its population, its headers, its files and the truth beside it."""

import hashlib
import io
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import get_expected_length

from radray import storage
from radray.errors import ConfigError
from radray.phantom import PhantomConfig
from radray.phantom.encoding import SYNTAXES, add_pixels, file_bytes, store_samples
from radray.phantom.export import TRUTH_SCHEMA, write_phantom
from radray.phantom.hardware import CUES
from radray.phantom.plan import BROKEN, OUT_OF_DOMAIN, plan_archive, region_counts
from radray.phantom.wording import CONFUSIONS, ENGLISH, GERMAN, SILENT_ENGLISH, SILENT_GERMAN
from radray.regions import load_regions
from radray.tables import row_id


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    config = PhantomConfig(
        output=str(folder / "archive"),
        images=150,
        side_px=128,
        label_noise=0.1,
        missing_labels=0.1,
        out_of_domain=0.08,
        broken=0.08,
    )
    summary = write_phantom(config)
    return config, summary, storage.read_table(config.truth_url).to_pylist()


def _bytes_below(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in Path(folder).rglob("*")
        if p.is_file()
    }


def test_truth_has_one_row_for_every_object_and_lies_outside(export):
    config, summary, truth = export
    files = {str(p) for p in Path(config.output).rglob("*") if p.is_file()}
    assert {row["uri"] for row in truth} == files
    assert len(truth) == summary["rows_out"] == config.images
    assert all(row["row_id"] == row_id(row["uri"]) for row in truth)
    assert not config.truth_url.startswith(config.output + "/")
    assert set(truth[0]) == set(TRUTH_SCHEMA.names)
    assert {Path(f).suffix for f in files} >= {".dcm", "", ".DCM"}


def test_shares_are_exact(export):
    config, _, truth = export
    kinds = Counter(row["kind"] for row in truth)
    assert kinds == {"out_of_domain": 12, "broken": 12, "radiograph": 126}
    states = Counter(row["label_state"] for row in truth if row["kind"] == "radiograph")
    assert states == {"wrong": 13, "missing": 13, "ok": 100}
    assert {row["kind_detail"] for row in truth if row["kind"] == "broken"} == set(BROKEN)
    assert {row["kind_detail"] for row in truth if row["kind"] == "out_of_domain"} == set(OUT_OF_DOMAIN)
    for row in truth:
        if row["label_state"] == "wrong":
            assert row["header_label"] != row["region"]
            assert row["header_label"] in CONFUSIONS[row["region"]]
        elif row["label_state"] == "ok":
            assert row["header_label"] == row["region"]
        elif row["label_state"] == "missing":
            assert row["header_label"] is None and row["region"]


def test_headers_say_what_the_truth_says_they_say(export):
    _, _, truth = export
    regions = load_regions("skeletal14")
    for row in truth:
        if row["kind"] != "radiograph":
            continue
        ds = pydicom.dcmread(row["uri"], stop_before_pixels=True)
        texts = [ds.get(k) for k in ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")]
        named = {regions.normalise(text) for text in texts} - {None}
        assert named == ({row["header_label"]} if row["header_label"] else set())
        assert ds.file_meta.TransferSyntaxUID == row["transfer_syntax"]
        assert (ds.Rows, ds.Columns, ds.BitsStored) == (row["rows"], row["columns"], row["bits"])
        assert ds.PhotometricInterpretation == row["monochrome"]
        assert ds.PatientID == row["patient"]
        assert len(ds.get("BodyPartExamined") or "") <= 16


def test_identities_stand_everywhere(export):
    _, _, truth = export
    row = next(row for row in truth if row["kind"] == "radiograph")
    ds = pydicom.dcmread(row["uri"], stop_before_pixels=True)
    assert str(ds.PatientName) in row["uri"] and ds.PatientBirthDate in row["uri"]
    assert ds.AccessionNumber and ds.ReferringPhysicianName
    private = [str(element.value) for element in ds if element.tag.is_private]
    assert any(str(ds.PatientName) in text for text in private)
    assert any(ds.PatientID in text for text in private)


def test_patients_have_several_studies(export):
    _, _, truth = export
    studies = defaultdict(set)
    for row in truth:
        studies[row["patient"]].add(row["study"])
    assert max(len(s) for s in studies.values()) >= 2
    assert len({row["part"] for row in truth}) == 2


def test_broken_objects_are_broken_and_the_others_are_not(export):
    _, _, truth = export
    for row in truth:
        body = Path(row["uri"]).read_bytes()
        detail = row["kind_detail"]
        if detail == "not_dicom":
            with pytest.raises(pydicom.errors.InvalidDicomError):
                pydicom.dcmread(io.BytesIO(body))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(body))
        if detail == "no_pixels":
            assert "PixelData" not in ds
        elif detail == "unknown_transfer_syntax":
            assert not ds.file_meta.TransferSyntaxUID.is_transfer_syntax
        elif detail == "wrong_length":
            assert len(ds.PixelData) < get_expected_length(ds)
        elif row["kind"] != "broken":
            samples = _decode(ds)
            assert samples.shape[:2] == (row["rows"], row["columns"])


def _decode(ds):
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax.endswith("2.5"):
        return ds.pixel_array
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if ".4.5" in syntax or ".4.70" in syntax:
        return imagecodecs.jpeg8_decode(frame)
    return imagecodecs.jpegls_decode(frame) if ".4.8" in syntax else imagecodecs.jpeg2k_decode(frame)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.uid.removeprefix("1.2.840.10008.1."))
def test_stored_samples_give_the_grey_values_back(syntax):
    """Twin: pydicom's modality and VOI LUT on the decoded samples, MONOCHROME1 inverted."""
    y, x = np.mgrid[0:96, 0:80].astype(np.float32)
    grey = np.clip(0.5 + 0.35 * np.sin(x / 14) * np.cos(y / 19) + 0.002 * x, 0, 1).astype(np.float32)
    met = set()
    for seed in range(10):
        stored = store_samples(grey, np.random.default_rng([9, seed]), syntax)
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "2.25.1"
        add_pixels(ds, stored)
        read = pydicom.dcmread(io.BytesIO(file_bytes(ds, stored.syntax)))
        values = apply_voi_lut(apply_modality_lut(_decode(read), read), read).astype(np.float64)
        if stored.lut in ("window", "rescale"):
            low, high = _display_range(read)
        else:
            low, high = 0.0, 65535.0 if "lut" in stored.lut else float((1 << read.BitsStored) - 1)
        shown = (values - low) / (high - low)
        if read.PhotometricInterpretation == "MONOCHROME1":
            shown = 1 - shown
        tolerance = 0.05 if syntax.uid.endswith((".50", ".51", ".81", ".91")) else 0.02
        assert np.abs(shown - grey).mean() < tolerance, (seed, stored.lut, stored.photometric, stored.bits)
        met.add((stored.lut, stored.photometric))
    assert len(met) >= 3


def _display_range(ds):
    """Output range of pydicom's window: that of the stored (and rescaled) values."""
    bits, signed = int(ds.BitsStored), int(ds.PixelRepresentation)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    shared = {"images": 24, "side_px": 96, "out_of_domain": 0.2, "broken": 0.2, "spurious_cue": 0.5}
    for name, workers, seed in (("one", 1, 4), ("two", 2, 4), ("other", 1, 5)):
        write_phantom(PhantomConfig(output=str(tmp_path / name), workers=workers, seed=seed, **shared))
    one, two, other = (_bytes_below(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert not set(one.values()) & set(other.values())


def test_a_second_call_writes_the_same_and_another_phantom_is_refused(tmp_path):
    config = PhantomConfig(output=str(tmp_path / "a"), images=6, side_px=64)
    write_phantom(config)
    before = _bytes_below(tmp_path / "a")
    write_phantom(config)
    assert _bytes_below(tmp_path / "a") == before
    with pytest.raises(ConfigError, match="something else"):
        write_phantom(PhantomConfig(output=str(tmp_path / "a"), images=7, side_px=64))


def test_it_writes_to_an_object_store(s3):
    summary = write_phantom(PhantomConfig(output=f"{s3}/archive", images=5, side_px=64))
    truth = storage.read_table(summary["truth"]).to_pylist()
    assert summary["truth"] == f"{s3}/archive-truth.parquet"
    assert all(row["uri"].startswith(f"{s3}/archive/ARCHIVE/") and storage.exists(row["uri"]) for row in truth)


def test_imbalance_and_its_floor(tmp_path):
    counts = region_counts(PhantomConfig(output=str(tmp_path), images=1500), 1425)
    assert sum(counts.values()) == 1425 and min(counts.values()) >= 30
    assert counts["knee"] == max(counts.values()) and counts["scapula"] == min(counts.values())
    wide = region_counts(PhantomConfig(output=str(tmp_path), images=48000, least_per_region=0), 48000)
    assert wide["knee"] / wide["scapula"] == pytest.approx(103, rel=0.05)
    all22 = region_counts(PhantomConfig(output=str(tmp_path), images=1500, regions="skeletal22"), 1425)
    assert len(all22) == 22 and min(all22.values()) >= 30


def test_the_cue_goes_with_the_label_in_training_only(tmp_path):
    planned = plan_archive(PhantomConfig(output=str(tmp_path), images=3000, spurious_cue=1.0))
    names = load_regions("skeletal14").names
    told = {part: Counter() for part in ("train", "test")}
    for one in planned:
        if one.kind == "radiograph":
            told[one.patient.part][one.cue == CUES[names.index(one.region) % len(CUES)]] += 1
    assert told["train"][False] == 0 and told["train"][True] > 1000
    assert told["test"][False] > 2 * told["test"][True]
    by_patient = defaultdict(set)
    for one in planned:
        by_patient[one.patient.patient_id].add(one.patient.part)
    assert all(len(parts) == 1 for parts in by_patient.values())


@pytest.mark.parametrize("words", [GERMAN, ENGLISH], ids=["german", "english"])
def test_header_words_name_their_region(words):
    regions = load_regions("skeletal22")
    for name, texts in words.items():
        assert {regions.normalise(text) for text in texts} == {name}


def test_silent_words_name_no_region():
    regions = load_regions("skeletal22")
    assert {regions.normalise(text) for text in (*SILENT_GERMAN, *SILENT_ENGLISH)} == {None}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label_noise": 1.5}, "label_noise"),
        ({"images": 0}, "images"),
        ({"regions": "skeletal99"}, "skeletal22"),
        ({"truth": "/tmp/archive/truth.parquet"}, "outside"),
        ({"output": ""}, "output"),
        ({"imbalance": 0.5}, "imbalance"),
        ({"out_of_domain": 0.6, "broken": 0.6}, "broken"),
    ],
)
def test_bad_configuration_says_what_to_set(change, says):
    with pytest.raises(ConfigError, match=says):
        PhantomConfig(**{"output": "/tmp/archive", **change})


def test_a_fixture_sized_export_is_quick(tmp_path):
    started = time.process_time()
    write_phantom(PhantomConfig(output=str(tmp_path / "a"), images=60, side_px=256))
    assert (time.process_time() - started) / 60 < 0.1


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_some_studies_show_two_regions(share: float) -> None:
    plan = plan_archive(PhantomConfig(output="unused", images=403, mixed_studies=share, out_of_domain=0.0, broken=0.0))
    assert len(plan) == 403
    regions: dict[int, set[str]] = {}
    for planned in plan:
        regions.setdefault(planned.study, set()).add(planned.region)
    mixed = sum(len(names) > 1 for names in regions.values()) / len(regions)
    assert share * 0.6 <= mixed <= share
