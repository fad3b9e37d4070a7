"""Header facts, the rule for radiographs, labels, and what must never leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radray.dicom.header import HeaderReader, read_facts
from radray.dicom.identity import Pseudonyms
from radray.dicom.parsing import MoreBytesNeeded
from radray.dicom.radiograph import RadiographRule
from radray.errors import ConfigError
from radray.regions import load_regions
from radray.tables import INDEX_SCHEMA, MANIFEST_SCHEMA

from .conftest import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, dataset, make_object, stored, written

READER = HeaderReader(regions=load_regions("skeletal14"), pseudonyms=Pseudonyms(b"0123456789abcdef"))
SR = "1.2.840.10008.5.1.4.1.1.88.11"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def facts(body: bytes, reader: HeaderReader = READER) -> dict[str, Any]:
    return read_facts(body, reader, complete=True)


def of(**elements: Any) -> dict[str, Any]:
    return facts(make_object(stored(), **elements))


def test_the_columns_are_those_of_the_index() -> None:
    assert set(of()) == set(INDEX_SCHEMA.names) - {*MANIFEST_SCHEMA.names, "key"}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_every_encoding_is_read(syntax: str) -> None:
    found = facts(make_object(stored(), syntax, BodyPartExamined="KNEE"))
    assert (found["status"], found["label"], found["label_source"]) == ("ok", "knee", "BodyPartExamined")
    assert (found["rows"], found["columns"], found["bits_stored"], found["frames"]) == (512, 384, 12, 1)
    assert found["transfer_syntax"] == syntax


def region(code: str, meaning: str, scheme: str = "SCT") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, meaning
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "label", "source"),
    [
        (
            {"AnatomicRegionSequence": region("72696002", "x"), "BodyPartExamined": "HAND"},
            "knee",
            "AnatomicRegionSequence",
        ),
        ({"AnatomicRegionSequence": region("80144004", "Calcaneus")}, "foot", "AnatomicRegionSequence"),
        ({"AnatomicRegionSequence": region("T-12345", "Wrist joint", "SRT")}, "wrist", "AnatomicRegionSequence"),
        ({"BodyPartExamined": "CSPINE", "StudyDescription": "LWS"}, "cervical_spine", "BodyPartExamined"),
        (
            {"ViewCodeSequence": region("R-102C1", "Towne projection"), "StudyDescription": "HWS"},
            "skull",
            "ViewCodeSequence",
        ),
        (
            {"ViewCodeSequence": region("399162004", "cranio-caudal"), "StudyDescription": "HWS"},
            "cervical_spine",
            "StudyDescription",
        ),
        ({"BodyPartExamined": "HAND", "ViewCodeSequence": region("R-1", "Mortise view")}, "hand", "BodyPartExamined"),
        (
            {"ViewCodeSequence": region("399348003", "antero-posterior"), "StudyDescription": "HWS"},
            "cervical_spine",
            "StudyDescription",
        ),
        ({"BodyPartExamined": "EXTREMITY", "StudyDescription": "OSG li."}, "ankle", "StudyDescription"),
        ({"SeriesDescription": "pa", "ProtocolName": "Hand d.p."}, "hand", "ProtocolName"),
        ({"BodyPartExamined": "PELVIS"}, None, None),
        ({}, None, None),
    ],
)
def test_labels_come_in_a_set_order(elements: dict[str, Any], label: str | None, source: str | None) -> None:
    found = of(**elements)
    assert (found["label"], found["label_source"]) == (label, source)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_radiograph"),
        ({"Modality": "MG", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "not_radiograph"),
        ({"Modality": "SR", "SOPClassUID": SR}, "not_radiograph"),
        ({"Modality": "OT", "SOPClassUID": CAPTURE}, "secondary_capture"),
        ({"Modality": "CR", "SOPClassUID": CAPTURE, "ConversionType": "WSD"}, "secondary_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREENSHOT"]}, "derived_image"),
        ({"Modality": "RF", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.2", "NumberOfFrames": 30}, "not_radiograph"),
        ({"Modality": "CR", "SOPClassUID": CAPTURE, "ConversionType": "DF"}, None),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, None),
        ({"Modality": "OT"}, None),
        ({"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}, None),
    ],
)
def test_what_counts_as_a_radiograph(elements: dict[str, Any], reason: str | None) -> None:
    assert of(**elements)["reason"] == reason


def test_the_rule_is_configuration() -> None:
    rule = RadiographRule(modalities=("IO",), secondary_captures=True)
    reader = HeaderReader(regions=READER.regions, pseudonyms=READER.pseudonyms, rule=rule)
    body = make_object(stored(), Modality="IO", SOPClassUID=CAPTURE, ConversionType="WSD")
    assert facts(body, reader)["status"] == "ok"
    with pytest.raises(ConfigError, match="modalities is empty"):
        RadiographRule(modalities=())


def test_objects_without_pixels_and_without_dicom() -> None:
    assert facts(written(dataset(stored(), 12), EXPLICIT))["reason"] == "no_pixels"
    assert facts(b"%PDF-1.4" + bytes(400))["reason"] == "not_dicom"
    assert facts(b"")["reason"] == "not_dicom"


def test_an_unknown_syntax_is_named() -> None:
    body = make_object(stored()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    found = facts(body)
    assert found["reason"] == "unsupported_transfer_syntax"
    assert "1.2.840.10008.1.2.9" in found["message"]


def test_a_prefix_is_enough_when_the_pixels_begin_in_it() -> None:
    body = make_object(stored(), BodyPartExamined="KNEE")
    assert read_facts(body[:4096], READER, complete=False) == facts(body)


def test_a_longer_header_asks_for_more_and_an_unwanted_object_does_not() -> None:
    long = make_object(stored(), DeviceSerialNumber="1", EncapsulatedDocument=b"x" * 100_000)
    with pytest.raises(MoreBytesNeeded):
        read_facts(long[:65_536], READER, complete=False)
    assert facts(long)["status"] == "ok"
    scan = make_object(
        stored(), Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", EncapsulatedDocument=b"x" * 100_000
    )
    assert read_facts(scan[:65_536], READER, complete=False)["reason"] == "not_radiograph"


def test_nothing_that_identifies_a_person_leaves() -> None:
    secrets = {
        "PatientName": "Mustermann^Erika",
        "PatientBirthDate": "19640812",
        "PatientID": "PID-77123",
        "StudyDescription": "Frau Mustermann nach Sturz",
        "SeriesDescription": "vgl. Befund Mustermann",
        "ProtocolName": "wie Mustermann",
        "BodyPartExamined": "MUSTERMANN",
        "ReferringPhysicianName": "Doktor^Eisenbart",
        "AccessionNumber": "ACC-99812",
        "StudyDate": "20191224",
        "ImageComments": "Mustermann",
        "PatientComments": "Mustermann",
        "ImageType": ["ORIGINAL", "PRIMARY", "mustermann erika geb"],
    }
    found = of(**secrets)
    text = json.dumps(found, default=str).lower()
    for word in ("mustermann", "erika", "19640812", "77123", "eisenbart", "99812", "20191224", "sturz"):
        assert word not in text
    assert found["study_year"] == 2019
    assert found["age_decade"] == 50
    assert found["body_part_examined"].startswith("#")
    assert found["protocol_term"].startswith("#")


@pytest.mark.parametrize(
    ("elements", "decade"),
    [
        ({"PatientAge": "034Y"}, 30),
        ({"PatientAge": "007M"}, 0),
        ({"PatientAge": "104Y"}, 90),
        ({"PatientBirthDate": "19000101", "StudyDate": "19991231"}, 90),
        ({"PatientBirthDate": "20101231", "StudyDate": "20201230"}, 0),
        ({"PatientAge": "old"}, None),
        ({}, None),
    ],
)
def test_ages_are_decades_and_end_at_ninety(elements: dict[str, Any], decade: int | None) -> None:
    assert of(**elements)["age_decade"] == decade


def test_pseudonyms_depend_on_secret_patient_and_issuer() -> None:
    one, other, none = Pseudonyms(b"a" * 16), Pseudonyms(b"b" * 16), Pseudonyms(None)
    names = {
        one.patient("1234", None, "1.2"),
        one.patient("1234", "KH", "1.2"),
        one.patient("1235", None, "1.2"),
        other.patient("1234", None, "1.2"),
        none.patient("1234", None, "1.2"),
        one.patient("ANONYMOUS", None, "1.2"),
        one.patient("", None, "1.3"),
    }
    assert len(names) == 7
    assert one.patient(" 1234 ", "", "9.9") == one.patient("1234", None, "1.2")
    assert one.patient(None, None, None) is None
    assert "aaaa" not in repr(one)


def test_broken_values_do_not_stop_the_reader() -> None:
    body = make_object(
        stored(),
        PatientAge="x" * 30,
        NumberOfFrames=98,
        StudyDate="yesterday",
        PatientSex="?",
        SpecificCharacterSet="??",
    )
    found = facts(body.replace(b"IS\x02\x0098", b"IS\x02\x00xy"))
    assert found["status"] == "ok"
    assert (found["sex"], found["study_year"], found["frames"]) == (None, None, 1)


def test_any_cut_or_flip_of_a_header_gives_a_row() -> None:
    import numpy as np

    body = bytearray(make_object(stored(), BodyPartExamined="KNEE", StudyDescription="Knie")[:3000])
    random = np.random.default_rng(3)
    statuses = set()
    for _ in range(300):
        broken = bytearray(body)
        for place in random.integers(128, 900, 6):
            broken[place] = random.integers(0, 256)
        statuses.add(facts(bytes(broken))["status"])
    assert statuses <= {"ok", "set_aside", "failed"}
    assert len(statuses) > 1


def test_the_odd_objects_all_become_rows() -> None:
    odd = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "odd"
    if not odd.is_dir():
        pytest.skip("the folder of odd DICOM files is not there")
    found = [facts(path.read_bytes()) for path in sorted((odd / "xray").iterdir())]
    assert sum(row["status"] == "ok" for row in found) >= 20
    assert {row["reason"] for row in found} >= {"no_pixels", "not_radiograph"}
