"""A header as facts of the index: codes, sizes and pseudonyms, never names, dates or free text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom.dataset import Dataset

from radray.dicom.identity import Pseudonyms
from radray.dicom.parsing import MoreBytesNeeded, ParsedObject, lenient, parse, parse_beginning
from radray.dicom.radiograph import RadiographRule
from radray.dicom.syntaxes import is_supported
from radray.dicom.values import integer, items, text, value
from radray.errors import ObjectError, Reason, Status
from radray.regions import RegionSet, body_parts
from radray.regions.body_parts import meaning_by_code
from radray.tables import FACTS, OUTCOME

TERM_SOURCES = (
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "AcquisitionDeviceProcessingDescription",
)
"""Free texts that may name the region, the one nearest to the image first."""

_VIEWS = {
    "towne": "skull",
    "waters": "skull",
    "caldwell": "skull",
    "submentovert": "skull",
    "odontoid": "cervical spine",
    "swimmer": "cervical spine",
    "axillary": "shoulder",
    "grashey": "shoulder",
    "stryker": "shoulder",
    "scapular y": "scapula",
    "scaphoid": "wrist",
    "carpal tunnel": "wrist",
    "frog": "hip",
    "skyline": "knee",
    "sunrise": "knee",
    "merchant": "knee",
    "rosenberg": "knee",
    "intercondylar": "knee",
    "mortise": "ankle",
    "harris": "foot",
}
"""Radiographic views (PS3.16 CID 4010 and the names in use) that show one region only."""
_FROM_OBJECT = [entry.name for entry in (*FACTS, *OUTCOME)]
_FROM_LISTING = ("uri", "row_id", "etag", "size", "modified")
_UID = re.compile(r"[0-9.]{1,64}")
_CODE = re.compile(r"[A-Z0-9_. -]{1,16}")
_OLDEST_DECADE = 90


@dataclass(frozen=True, kw_only=True)
class HeaderReader:
    """Reads headers of one site."""

    regions: RegionSet
    """The class list that texts are brought to."""
    pseudonyms: Pseudonyms
    """For Patient ID and texts."""
    rule: RadiographRule = field(default_factory=RadiographRule)
    """What counts as a radiograph."""


def read_facts(prefix: bytes, reader: HeaderReader, *, complete: bool) -> dict[str, Any]:
    """The facts and the outcome of one object: all columns of the index but those of the listing.

    Args:
        prefix: The object's first bytes (64 KiB hold nearly every header), or all of it.
        reader: Class list, pseudonyms and rule.
        complete: Whether `prefix` is the whole object.

    Raises:
        MoreBytesNeeded: The header goes on behind `prefix` and the bytes at hand do not settle that the object is
            unwanted. Call again with more.
    """
    facts: dict[str, Any] = {name: None for name in _FROM_OBJECT if name not in _FROM_LISTING}
    try:
        with lenient():
            parsed = _parse(prefix, reader, complete)
            facts |= _facts(parsed.dataset, reader)
            facts["transfer_syntax"] = _matching(_UID, parsed.transfer_syntax)
            _check(parsed, reader.rule)
        facts["status"] = Status.OK.value
    except MoreBytesNeeded:
        raise
    except Exception as error:  # a damaged header can hold any value in any place
        wrong = error if isinstance(error, ObjectError) else ObjectError(Reason.CORRUPT_HEADER, type(error).__name__)
        facts |= {"status": wrong.reason.status.value, "reason": wrong.reason.value, "message": wrong.message}
    return facts


def _parse(prefix: bytes, reader: HeaderReader, complete: bool) -> ParsedObject:
    try:
        return parse(prefix, complete=complete)
    except MoreBytesNeeded:
        beginning = parse_beginning(prefix)
        reader.rule.check_class(text(beginning, "SOPClassUID"), text(beginning, "Modality"))
        raise


def _check(parsed: ParsedObject, rule: RadiographRule) -> None:
    header = parsed.dataset
    sop_class = text(header, "SOPClassUID") or text(header.file_meta, "MediaStorageSOPClassUID")
    rule.check_class(sop_class, text(header, "Modality"))
    if parsed.pixels is None or parsed.pixels.length == 0:
        raise ObjectError(Reason.NO_PIXELS, "the object has no Pixel Data")
    rule.check_image(
        sop_class=sop_class,
        conversion=text(header, "ConversionType"),
        image_type=_image_type(header),
        frames=integer(header, "NumberOfFrames"),
    )
    if not is_supported(parsed.transfer_syntax):
        raise ObjectError(
            Reason.UNSUPPORTED_TRANSFER_SYNTAX, _matching(_UID, parsed.transfer_syntax) or "the syntax is not a UID"
        )


def _facts(header: Dataset, reader: HeaderReader) -> dict[str, Any]:
    label, source = header_label(header, reader.regions)
    study = _matching(_UID, text(header, "StudyInstanceUID"))
    return {
        "label": label,
        "label_source": source,
        "protocol_term": _protocol_term(header, reader),
        "modality": _code(header, "Modality"),
        "sop_class_uid": _matching(_UID, text(header, "SOPClassUID")),
        "sop_instance_uid": _matching(_UID, text(header, "SOPInstanceUID")),
        "study_instance_uid": study,
        "series_instance_uid": _matching(_UID, text(header, "SeriesInstanceUID")),
        "patient": reader.pseudonyms.patient(text(header, "PatientID"), text(header, "IssuerOfPatientID"), study),
        "body_part_examined": _closed(text(header, "BodyPartExamined"), reader),
        "anatomic_region_code": _anatomic_code(header),
        "view_position": _code(header, "ViewPosition"),
        "laterality": _laterality(header),
        "image_type": "\\".join(part for part in _image_type(header)[:6] if _CODE.fullmatch(part)) or None,
        "photometric": _code(header, "PhotometricInterpretation"),
        "rows": _within(integer(header, "Rows"), 1 << 16),
        "columns": _within(integer(header, "Columns"), 1 << 16),
        "frames": _within(integer(header, "NumberOfFrames"), 1 << 30) or 1,
        "bits_stored": _within(integer(header, "BitsStored"), 64),
        "burned_in_annotation": {"YES": True, "NO": False}.get((text(header, "BurnedInAnnotation") or "").upper()),
        "manufacturer": _short(header, "Manufacturer"),
        "model": _short(header, "ManufacturerModelName"),
        "station": _short(header, "StationName"),
        "study_year": _study_year(header),
        "sex": _sex(header),
        "age_decade": _age_decade(header),
    }


def header_label(header: Dataset, regions: RegionSet) -> tuple[str | None, str | None]:
    """The region that the header names and the element that named it.

    In order: Anatomic Region Sequence (0008,2218), Body Part Examined (0018,0015), View Code Sequence (0054,0220) with
    its modifiers where a view shows one region only, then the texts of `TERM_SOURCES`.
    """
    by_code = {region.snomed_code: region.name for region in regions.regions}
    for item in items(header, "AnatomicRegionSequence"):
        code = text(item, "CodeValue")
        named = by_code.get(code or "") or regions.normalise(meaning_by_code().get(code or ""))
        if found := named or regions.normalise(text(item, "CodeMeaning")):
            return found, "AnatomicRegionSequence"
    if found := regions.normalise(text(header, "BodyPartExamined")):
        return found, "BodyPartExamined"
    for view in items(header, "ViewCodeSequence"):
        for item in (view, *items(view, "ViewModifierCodeSequence")):
            meaning = (text(item, "CodeMeaning") or "").lower()
            part = next((part for view, part in _VIEWS.items() if view in meaning), None)
            if found := regions.normalise(part):
                return found, "ViewCodeSequence"
    for keyword in TERM_SOURCES:
        if found := regions.normalise(text(header, keyword)):
            return found, keyword
    return None, None


def _protocol_term(header: Dataset, reader: HeaderReader) -> str | None:
    """The region that the protocol's text names, else a keyed hash of the text."""
    texts = [found for keyword in TERM_SOURCES if (found := text(header, keyword))]
    if not texts:
        return None
    named = next((name for found in texts if (name := reader.regions.normalise(found))), None)
    return named or reader.pseudonyms.term(texts[0])


def _closed(term: str | None, reader: HeaderReader) -> str | None:
    """A body part that is a defined term or a word of the vocabulary as it stands, anything else as a keyed hash."""
    if term is None:
        return None
    code = term.upper()
    if code in body_parts() or code in _words(reader.regions):
        return code
    return reader.pseudonyms.term(term)


@lru_cache(maxsize=8)
def _words_of(names: tuple[tuple[str, ...], ...]) -> frozenset[str]:
    return frozenset(word.upper() for words in names for word in words)


def _words(regions: RegionSet) -> frozenset[str]:
    return _words_of(tuple((region.title, region.body_part_examined, *region.synonyms) for region in regions.regions))


def _anatomic_code(header: Dataset) -> str | None:
    for item in items(header, "AnatomicRegionSequence"):
        if found := _matching(_CODE, text(item, "CodeValue")):
            return found
    return None


def _image_type(header: Dataset) -> tuple[str, ...]:
    found = value(header, "ImageType")
    if found is None:
        return ()
    return tuple(str(part).strip().upper() for part in ([found] if isinstance(found, str) else found))


def _laterality(header: Dataset) -> str | None:
    found = text(header, "ImageLaterality") or text(header, "Laterality") or ""
    return found if found in ("R", "L", "B", "U") else None


def _code(header: Dataset, keyword: str) -> str | None:
    return _matching(_CODE, (text(header, keyword) or "").upper())


def _matching(pattern: re.Pattern[str], found: str | None) -> str | None:
    return found if found and pattern.fullmatch(found) else None


def _short(header: Dataset, keyword: str) -> str | None:
    """A device's own text, printable and at most 64 characters."""
    found = "".join(letter for letter in text(header, keyword) or "" if letter.isprintable())
    return found[:64].strip() or None


def _within(found: int | None, top: int) -> int | None:
    return found if found is not None and 0 < found < top else None


def _study_year(header: Dataset) -> int | None:
    return _year(header, "StudyDate") or _year(header, "SeriesDate") or _year(header, "AcquisitionDate")


def _year(header: Dataset, keyword: str) -> int | None:
    found = re.match(r"(\d{4})[.\-]?\d{2}", text(header, keyword) or "")
    return int(found[1]) if found and 1890 <= int(found[1]) <= 2200 else None


def _sex(header: Dataset) -> str | None:
    found = (text(header, "PatientSex") or "").upper()
    return found if found in ("M", "F", "O") else None


def _age_decade(header: Dataset) -> int | None:
    """Full decades of age, at most 90 (ages over 89 identify)."""
    years: float | None = None
    if found := re.fullmatch(r"(\d{1,3})([DWMY])", text(header, "PatientAge") or ""):
        years = int(found[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[found[2]]
    else:
        born, studied = text(header, "PatientBirthDate") or "", text(header, "StudyDate") or ""
        if re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", studied):
            years = (int(studied) - int(born)) // 10000
    if years is None or not 0 <= years < 130:
        return None
    return min(int(years // 10) * 10, _OLDEST_DECADE)
