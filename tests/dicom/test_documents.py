"""Reports and rejection notes: what they say, that the standard's rules hold, that they are the same every time."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from pydicom.filereader import dcmread

from radray import storage
from radray.dicom.correction import RegionCorrection, correct_region, open_source
from radray.dicom.documents import RegionFinding, reject_object, report_region
from radray.dicom.parsing import lenient
from tests.dicom.conftest import make_object, stored
from tests.dicom.iods import violations

DECIDED = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
BY_MODEL = RegionFinding(
    code="72696002", meaning="Knee", decided=DECIDED, reviewer=None, bundle="3f0c" * 16, confidence=0.98766
)
BY_REVIEWER = RegionFinding(
    code="72696002", meaning="Knee", decided=DECIDED, reviewer="Dr. Müller=^x", bundle=None, confidence=None
)


def source(**elements):
    with lenient():
        return open_source(make_object(stored(12)[:64, :48].copy(), **elements))


def read(made):
    return dcmread(io.BytesIO(made.body))


def named(items):
    """Concept name → value of every content item, in order."""
    for item in items:
        name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        if item.ValueType == "CODE":
            yield name, item.ConceptCodeSequence[0].CodeValue
        elif item.ValueType == "NUM":
            yield name, float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "IMAGE":
            yield name, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        else:
            yield name, str(item.get("TextValue") or item.get("PersonName") or item.get("UID") or "")
        yield from named(item.get("ContentSequence", ()))


def test_a_report_of_the_model_names_region_certainty_and_bundle():
    report = read(report_region(source(PatientName="Yamada^T", StudyDate="20240229"), BY_MODEL))
    said = dict(named(report.ContentSequence))
    assert (said["Target Region"], said["Finding Site"], said["Certainty of Finding"]) == (
        "72696002",
        "72696002",
        98.77,
    )
    assert said["Algorithm Parameters"] == f"bundle {'3f0c' * 16}"
    assert said["Source of Measurement"] == "1.2.3.4"
    assert "Person Observer Name" not in said
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (str(report.PatientName), report.PatientID, report.StudyDate) == ("Yamada^T", "4711", "20240229")
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")


def test_a_report_of_a_reviewer_names_the_person_and_no_algorithm():
    said = dict(named(read(report_region(source(), BY_REVIEWER)).ContentSequence))
    assert said["Person Observer Name"] == "Dr. Müller x^"
    assert not {"Algorithm Name", "Certainty of Finding"} & set(said)


def test_a_rejection_note_refers_to_the_image():
    note = read(reject_object(source(), "Replaced by 2.25.1", DECIDED))
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    said = dict(named(note.ContentSequence))
    assert (said["Source"], said["Key Object Description"]) == ("1.2.3.4", "Replaced by 2.25.1")
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == "1.2.3.5"


@pytest.mark.parametrize("make", [lambda s: report_region(s, BY_MODEL), lambda s: reject_object(s, "why", DECIDED)])
def test_the_same_arguments_give_the_same_bytes(make):
    assert make(source()).body == make(source()).body
    assert make(source()).sop_instance != make(source(PatientID="4712")).sop_instance


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PatientID": None, "SeriesInstanceUID": None},
        {"PatientBirthDate": "1.1.1950", "StudyDate": "20240231", "StudyTime": "9 Uhr", "PatientSex": "weiblich"},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "StudyDescription": "Handgelenk für OP"},
    ],
)
def test_documents_keep_the_rules_of_their_iods_whatever_the_image_breaks(elements):
    image = source(**elements)
    for made in (report_region(image, BY_MODEL), report_region(image, BY_REVIEWER), reject_object(image, "w", DECIDED)):
        document = read(made)
        assert violations(document) == set()
        assert document.StudyInstanceUID == "1.2.3"
        assert document.SpecificCharacterSet == "ISO_IR 192"
        if "PatientName" in elements:
            assert str(document.PatientName) == "Müller^Jörg"


def test_a_rule_that_is_broken_is_seen():
    document = read(report_region(source(), BY_MODEL))
    del document.SeriesNumber
    document.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = ""
    assert violations(document) == {"SeriesNumber", "CurrentRequestedProcedureEvidenceSequence/StudyInstanceUID"}


def test_a_copy_breaks_no_rule_that_its_source_keeps(phantom_archive):
    correction = RegionCorrection(
        body_part="KNEE", code="72696002", meaning="Knee", decided="20261123020000+0000", decided_by="a reviewer"
    )
    truth = storage.read_table(phantom_archive.truth).to_pylist()
    for row in [row for row in truth if row["kind"] == "radiograph"][:24]:
        body = storage.read_bytes(row["uri"])
        with lenient():
            before, copy = dcmread(io.BytesIO(body)), read(correct_region(open_source(body), correction))
            assert violations(copy) <= violations(before)
