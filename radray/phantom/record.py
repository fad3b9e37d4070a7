"""The header around the pixels: identities wherever a real export has them, and the words that name the region."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radray.phantom import wording
from radray.phantom.plan import Planned, uid
from radray.regions import Region

Random = np.random.Generator

_SOP_CLASSES = {"CR": "1.2.840.10008.5.1.4.1.1.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}


def _pick(rng: Random, texts: tuple[str, ...]) -> str:
    return texts[int(rng.integers(len(texts)))]


def name_region(dataset: Dataset, region: Region | None, scanner: wording.Scanner, side: str, rng: Random) -> None:
    """Write what the header says about the region: BodyPartExamined, descriptions, code, in the scanner's language.

    Args:
        dataset: Header to fill.
        region: What the header names; None for a header that names no region.
        scanner: Decides language and elements.
        side: R, L or "".
        rng: Draws the wording.
    """
    if region is None:
        silent = _pick(rng, wording.SILENT_GERMAN if scanner.german else wording.SILENT_ENGLISH)
        if scanner.header != "part" and silent:
            dataset.StudyDescription = silent
        if rng.random() < 0.3:
            dataset.BodyPartExamined = ""
        return
    words = _pick(rng, (wording.GERMAN if scanner.german else wording.ENGLISH)[region.name])
    if side and rng.random() < 0.5:
        words += {True: {"R": " rechts", "L": " links"}, False: {"R": " RIGHT", "L": " LEFT"}}[scanner.german][side]
    if scanner.header in ("part", "both", "code"):
        dataset.BodyPartExamined = region.body_part_examined
    if scanner.header in ("description", "both"):
        keyword = _pick(rng, ("StudyDescription", "SeriesDescription", "ProtocolName", "StudyDescription"))
        setattr(dataset, keyword, words)
    if scanner.header == "code":
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = region.snomed_code, "SCT", region.snomed_meaning
        dataset.AnatomicRegionSequence = Sequence([item])


def header(
    planned: Planned, seed: int, region: Region | None, *, view: str, side: str, modality: str, rng: Random
) -> Dataset:
    """Patient, study, series, equipment and private elements of one object; the pixels come later."""
    who, scanner = planned.patient, planned.scanner
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""] if rng.random() < 0.3 else ["ORIGINAL", "PRIMARY"]
    ds.SOPClassUID = _SOP_CLASSES.get(modality, _SOP_CLASSES["DX"])
    ds.SOPInstanceUID = uid(seed, "instance", planned.number)
    ds.StudyInstanceUID = uid(seed, "study", planned.study)
    ds.SeriesInstanceUID = uid(seed, "series", planned.study, modality)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = planned.study_date
    ds.StudyTime = ds.ContentTime = (
        f"{int(rng.integers(6, 22)):02d}{int(rng.integers(60)):02d}{int(rng.integers(60)):02d}"
    )
    ds.AccessionNumber = f"A{planned.study_date[2:4]}{planned.study:07d}"
    ds.Modality = modality
    ds.Manufacturer, ds.ManufacturerModelName, ds.StationName = scanner.manufacturer, scanner.model, scanner.station
    ds.InstitutionName = "Kreisklinikum Musterstadt" if scanner.german else "Sample General Hospital"
    ds.ReferringPhysicianName = _pick(rng, wording.PHYSICIANS)
    ds.PerformingPhysicianName = _pick(rng, wording.PHYSICIANS)
    ds.OperatorsName = "MTRA^BRIGITTE"
    ds.PatientName, ds.PatientID = who.name, who.patient_id
    ds.PatientBirthDate, ds.PatientSex = who.birth_date, who.sex
    ds.PatientAge = f"{max(0, int(planned.study_date[:4]) - int(who.birth_date[:4])):03d}Y"
    ds.PatientAddress = f"{who.number + 1} Musterstrasse"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = str(planned.study), 1, planned.instance
    name_region(ds, region, scanner, side, rng)
    if view in ("AP", "PA") and rng.random() < 0.8:
        ds.ViewPosition = view
    elif view == "LAT" and rng.random() < 0.7:
        ds.ViewPosition = "LL" if side != "R" else "RL"
    if side and rng.random() < 0.6:
        ds.ImageLaterality = side
    ds.KVP = str(int(rng.integers(45, 120)))
    ds.ImagerPixelSpacing = ["0.148", "0.148"]
    ds.PatientOrientation = ["L", "F"]
    ds.BurnedInAnnotation = "NO"
    given = str(who.name).replace("^", " ").title()
    block = ds.private_block(0x0009, "MUSTER RIS 1.0", create=True)
    block.add_new(0x01, "PN", who.name)
    block.add_new(0x02, "LO", f"{given} {who.birth_date} {who.patient_id}")
    block.add_new(0x03, "ST", f"Pat. {given}, bitte Kopie an {ds.ReferringPhysicianName}")
    if rng.random() < 0.4:
        second = ds.private_block(0x0029, "MUSTER CONSOLE 2", create=True)
        second.add_new(0x10, "OB", rng.bytes(64))
        second.add_new(0x11, "UI", uid(seed, "console", planned.number))
    return ds
