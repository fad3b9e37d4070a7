"""Corrected copies: what changes, that nothing else does, in every transfer syntax and with every oddity."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence

from radray.dicom.correction import RegionCorrection, correct_region, open_source
from radray.dicom.elements import Encoding
from radray.dicom.parsing import lenient
from radray.dicom.pixels import decode
from radray.errors import ObjectError, Reason
from tests.dicom.conftest import (
    BIG_ENDIAN,
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    IMPLICIT,
    UNKNOWN_TO_PYDICOM,
    make_object,
    stored,
    written,
)

KNEE = RegionCorrection(
    body_part="KNEE", code="72696002", meaning="Knee", decided="20261123020000+0000", decided_by="a reviewer"
)
RLE = "1.2.840.10008.1.2.5"
ALL_SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, RLE, *ENCODERS)
TOUCHED = {
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ReferencedImageSequence",
    "ContributingEquipmentSequence",
    "OriginalAttributesSequence",
}


def corrected(body, *, same_uid=False, correction=KNEE):
    with lenient():
        return correct_region(open_source(body), correction, same_uid=same_uid).body


def read(body):
    with lenient():
        found = dcmread(io.BytesIO(body), force=True)
        str(found)
        return found


def others(header, touched=frozenset(TOUCHED)):
    with lenient():
        return {element.tag: element.value for element in header if element.keyword not in touched}


def small(syntax):
    bits = 8 if syntax.endswith(("4.50", "4.110", "8.1")) else 12
    return make_object(stored(bits)[:64, :48].copy(), syntax, bits, BodyPartExamined="HAND", PatientName="Doe^J")


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
def test_only_what_is_meant_to_changes(syntax):
    body = small(syntax)
    copy = corrected(body)
    before, after = read(body), read(copy)
    assert others(after) == others(before)
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID == syntax
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID != before.SOPInstanceUID
    assert after.BodyPartExamined == "KNEE"
    code = after.AnatomicRegionSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("72696002", "SCT", "Knee")
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    reference = after.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == before.SOPClassUID
    assert corrected(body) == copy
    if syntax not in UNKNOWN_TO_PYDICOM and syntax != DEFLATED:
        raw = before.PixelData
        assert body.count(raw) == copy.count(raw) == 1


def test_the_trail_names_what_was_before_and_who_changed_it():
    after = read(corrected(small(EXPLICIT)))
    equipment = after.ContributingEquipmentSequence[0]
    assert (equipment.Manufacturer, equipment.ContributionDateTime) == ("radray", "20261123020000+0000")
    purpose = equipment.PurposeOfReferenceCodeSequence[0]
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109103", "DCM")
    original = after.OriginalAttributesSequence[0]
    assert original.ReasonForTheAttributeModification == "CORRECT"
    assert original.AttributeModificationDateTime == "20261123020000+0000"
    assert original.ModifyingSystem.startswith("radray ")
    assert "SourceOfPreviousValues" in original
    old = original.ModifiedAttributesSequence[0]
    assert (old.BodyPartExamined, old.SOPInstanceUID, old.SeriesInstanceUID) == ("HAND", "1.2.3.4", "1.2.3.5")
    assert len(old.AnatomicRegionSequence) == 0


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("undefined", [False, True])
def test_trails_and_references_that_are_there_grow(syntax, undefined):
    body = small(syntax)
    header = read(body)
    item = Dataset()
    item.Manufacturer = "Before"
    header.ContributingEquipmentSequence = Sequence([item])
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "85562004", "SCT", "Hand"
    modifier = Dataset()
    modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning = "1", "99X", "distal"
    region.AnatomicRegionModifierSequence = Sequence([modifier])
    header.AnatomicRegionSequence = Sequence([region])
    header.PrimaryAnatomicStructureSequence = Sequence([region])
    header.SOPInstanceUID = "1.2.3.4.5"
    for keyword in ("ContributingEquipmentSequence", "AnatomicRegionSequence"):
        header[keyword].is_undefined_length = undefined
        header[keyword].value[0].is_undefined_length_sequence_item = undefined
    once = corrected(written(header, syntax))
    twice = read(
        corrected(once, correction=RegionCorrection(**{**vars(KNEE), "body_part": "FOOT", "code": "56459004"}))
    )
    first, second, third = twice.ContributingEquipmentSequence
    assert (first.Manufacturer, second.Manufacturer, third.Manufacturer) == ("Before", "radray", "radray")
    assert twice.AnatomicRegionSequence[0].CodeValue == "56459004"
    assert "AnatomicRegionModifierSequence" not in twice.AnatomicRegionSequence[0]
    assert "PrimaryAnatomicStructureSequence" not in twice
    olds = [each.ModifiedAttributesSequence[0] for each in twice.OriginalAttributesSequence]
    assert [old.BodyPartExamined for old in olds] == ["HAND", "KNEE"]
    assert olds[0].AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "distal"
    assert olds[0].PrimaryAnatomicStructureSequence[0].CodeValue == "85562004"
    uids = [each.ReferencedSOPInstanceUID for each in twice.ReferencedImageSequence]
    assert uids == ["1.2.3.4.5", read(once).SOPInstanceUID]


def test_the_old_uid_stays_by_choice():
    before, after = read(small(EXPLICIT)), read(corrected(small(EXPLICIT), same_uid=True))
    touched = TOUCHED - {"SOPInstanceUID", "SeriesInstanceUID", "ReferencedImageSequence"}
    assert others(after, touched) == others(before, touched)
    assert after.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID
    assert "SOPInstanceUID" not in after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]


def test_objects_without_preamble_and_meta_information_get_them():
    header = read(small(IMPLICIT))
    header.preamble = None
    body = written(header, IMPLICIT, preamble=False)
    assert body[128:132] != b"DICM"
    copy = corrected(body)
    assert copy[128:132] == b"DICM"
    assert pydicom.dcmread(io.BytesIO(copy)).file_meta.TransferSyntaxUID == IMPLICIT
    assert others(read(copy)) == others(read(body))


def test_a_preamble_stays_unless_it_holds_offsets():
    body = small(EXPLICIT)
    assert corrected(b"own".ljust(128, b"!") + body[128:])[:128] == b"own".ljust(128, b"!")
    assert corrected(b"II*\0\x10".ljust(128, b"\0") + body[128:])[:128] == b"\0" * 128


def test_values_that_break_their_rules_private_elements_and_padding_stay_byte_for_byte():
    header = read(small(EXPLICIT))
    block = header.private_block(0x0029, "ACME", create=True)
    block.add_new(0x01, "UN", b"\x01\x02\xff\xfe")
    body = written(header, EXPLICIT)
    broken = struct.pack("<HH2sH", 0x0010, 0x1010, b"AS", 6) + b"about9"
    length = struct.pack("<HH2sHL", 0x0018, 0x0000, b"UL", 4, 999)
    place, spot = body.index(b"\x20\x00\x0d\x00UI"), body.index(b"\x18\x00\x15\x00CS")
    body = body[:spot] + length + body[spot:place] + body[place:]
    spot = body.index(b"\x10\x00\x20\x00LO")
    tail = struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + b"\0\0\0\0"
    odd = body[:spot] + body[spot : spot + 12] + broken + body[spot + 12 :] + tail
    copy = corrected(odd)
    assert broken in copy
    assert copy.endswith(tail)
    assert b"\x01\x02\xff\xfe" in copy
    assert length not in copy  # the length of a group that has grown


def test_names_in_other_scripts_stay_as_they_are():
    header = read(small(EXPLICIT))
    header.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    header.PatientName = "Yamada^Tarou=山田^太郎"
    body = written(header, EXPLICIT)
    raw = next(line for line in body.split(b"PN") if b"\x1b$B" in line)[:40]
    assert raw in corrected(body)
    meaning = RegionCorrection(**{**vars(KNEE), "meaning": "膝"})
    assert read(corrected(body, correction=meaning)).AnatomicRegionSequence[0].CodeMeaning == "膝"


def test_the_picture_is_the_same():
    body = small("1.2.840.10008.1.2.4.70")
    before, after = decode(body, side_px=48), decode(corrected(body), side_px=48)
    assert (before.grey == after.grey).all()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda body: b"%PDF" + body[4:64], Reason.NOT_DICOM),
        (lambda body: body[: body.index(b"\xe0\x7f\x10\x00")], Reason.NO_PIXELS),
        (lambda body: body[:-10], Reason.CORRUPT_PIXELS),
        (lambda body: small("1.2.840.10008.1.2.4.70")[:-10], Reason.CORRUPT_PIXELS),
        (lambda body: body.replace(b"1.2.3.4\0", b"a.b.c.d\0"), Reason.CORRUPT_HEADER),
        (lambda body: body.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"), Reason.CORRUPT_HEADER),
        (
            lambda body: body.replace(
                b"\xe0\x7f\x10\x00", struct.pack("<HH2sHL", 0x4FFE, 1, b"SQ", 0, 0) + b"\xe0\x7f\x10\x00"
            ),
            Reason.SIGNED,
        ),
    ],
)
def test_what_cannot_be_copied_gives_a_reason(spoil, reason):
    with pytest.raises(ObjectError) as error:
        corrected(spoil(small(EXPLICIT)))
    assert error.value.reason == reason
    assert "Doe" not in error.value.message


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("little", [False, True])
def test_elements_are_written_as_pydicom_reads_them(implicit, little):
    encoding = Encoding(implicit=implicit, little=little)
    item = encoding.element(0x00080100, "SH", b"123") + encoding.element(0x00080119, "UC", b"long")
    raw = encoding.sequence(0x00082218, [item, b""]) + encoding.element(0x0020000D, "UI", b"1.2")
    from pydicom.filereader import read_dataset

    found = read_dataset(io.BytesIO(raw), implicit, little)
    assert [len(each) for each in found.AnatomicRegionSequence] == [2, 0]
    assert found.AnatomicRegionSequence[0].LongCodeValue == "long"
    assert found.StudyInstanceUID == "1.2"


@pytest.mark.system
@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmtk is not installed (Debian: dcmtk)")
def test_dcmtk_reads_the_copies_of_odd_objects_that_it_reads(real_archive, tmp_path):
    copy, read_by_dcmtk = tmp_path / "copy.dcm", 0
    for path in odd_objects(real_archive):
        try:
            copy.write_bytes(corrected(path.read_bytes()))
        except ObjectError:
            continue
        if subprocess.run(["dcmdump", path], capture_output=True).returncode == 0:
            done = subprocess.run(["dcmdump", copy], capture_output=True)
            assert done.returncode == 0, path
            read_by_dcmtk += 1
    assert read_by_dcmtk >= 250


def odd_objects(folder):
    return [path for path in sorted((folder / "odd").rglob("*")) if path.is_file()]


def test_the_odd_objects_get_a_copy_or_a_reason(real_archive):
    made, reasons = 0, set()
    for path in odd_objects(real_archive):
        body = path.read_bytes()
        try:
            copy = corrected(body)
        except ObjectError as error:
            reasons.add(error.reason)
            continue
        made += 1
        before, after = read(body), read(copy)
        assert after.BodyPartExamined == "KNEE"
        assert after.get("PixelData") == before.get("PixelData")
    assert made >= 250
    assert reasons == {Reason.NO_PIXELS, Reason.NOT_DICOM, Reason.CORRUPT_HEADER, Reason.CORRUPT_PIXELS}
