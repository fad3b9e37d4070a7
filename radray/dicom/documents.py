"""DICOM objects about an image: a structured report with its region, and a note that it is rejected.

Both belong to the image's patient and study and hold what its header says of them. Built by highdicom; the same
arguments give the same bytes.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sr.codedict import codes

from radray.dicom.correction import Corrected, Source
from radray.dicom.uids import IMPLEMENTATION, derived_uid
from radray.dicom.values import text
from radray.errors import ObjectError, Reason
from radray.version import __version__

_PLAIN = ("PatientID", "StudyID", "AccessionNumber", "StudyDescription", "IssuerOfPatientID")
_NAMES = ("PatientName", "ReferringPhysicianName")
_DATES = ("PatientBirthDate", "StudyDate")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_DEVICE = derived_uid("radray", "observer")
_REPORT_SERIES, _REJECTION_SERIES = 7701, 7702
"""Series numbers of the two series that radray adds to a study."""
_REPORTED = CodedConcept("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True, kw_only=True)
class RegionFinding:
    """What a report says."""

    code: str
    """SNOMED CT code value of the region."""
    meaning: str
    """Code meaning."""
    decided: datetime
    """When, with time zone."""
    reviewer: str | None
    """Name of the person who decided, as given; None where the model did."""
    bundle: str | None
    """Digest of the bundle that decided, None where a person did."""
    confidence: float | None
    """The bundle's, 0 to 1."""


def report_region(source: Source, finding: RegionFinding) -> Corrected:
    """A structured report (TID 1500, Enhanced SR) that names the image's region and who found it.

    Raises:
        ObjectError: CORRUPT_HEADER where the image's header does not allow for one.
    """
    uid = derived_uid("report", source.digest, repr(finding), __version__)
    evidence = _evidence(source)
    measurements = None
    if finding.confidence is not None:
        certainty = round(100 * finding.confidence, 2)
        measurements = [Measurement(codes.DCM.CertaintyOfFinding, certainty, codes.UCUM.Percent)]
    algorithm = None
    if finding.bundle is not None:
        algorithm = AlgorithmIdentification(name="radray", version=__version__, parameters=[f"bundle {finding.bundle}"])
    region = CodedConcept(finding.code, "SCT", finding.meaning[:64])
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=derived_uid("tracking", uid), identifier="anatomic region"),
        finding_type=codes.DCM.TargetRegion,
        finding_sites=[FindingSite(anatomic_location=region)],
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(codes.DCM.TargetRegion, region)],
        source_images=[SourceImageForMeasurementGroup(source.sop_class, source.sop_instance)],
    )
    try:
        report = EnhancedSR(
            evidence=[evidence],
            content=MeasurementReport(
                observation_context=ObservationContext(
                    observer_person_context=_person(finding.reviewer), observer_device_context=_device()
                ),
                procedure_reported=_REPORTED,
                imaging_measurements=[group],
            ),
            series_instance_uid=derived_uid("reports", source.study),
            series_number=_REPORT_SERIES,
            series_description="Anatomic regions (radray)",
            sop_instance_uid=uid,
            instance_number=_instance_number(uid),
            is_complete=True,
            **_maker(finding.decided),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ObjectError(Reason.CORRUPT_HEADER, f"no report can refer to it ({type(error).__name__})") from error
    return Corrected(_written(report, finding.decided), report.SOPClassUID, uid, uid)


def reject_object(source: Source, why: str, decided: datetime) -> Corrected:
    """A rejection note: an image that a corrected copy replaces, or a copy that is withdrawn (IHE RAD IOCM; TID 2010).

    Its title is (113001, DCM, "Rejected for Quality Reasons"): the pixels are sound and the patient is right, so that a
    site may go on showing the object to those who look for it. "Rejected for Patient Safety Reasons" (113037) would
    take it away from everyone, and "Incorrect Modality Worklist Entry" (113038) says the wrong patient or order.

    Args:
        source: The object as it is in the PACS.
        why: For people, without identity.
        decided: When, with time zone.

    Raises:
        ObjectError: CORRUPT_HEADER where the image's header does not allow for one.
    """
    uid = derived_uid("rejection", source.digest, why, decided.isoformat(), __version__)
    evidence = _evidence(source)
    try:
        note = KeyObjectSelectionDocument(
            evidence=[evidence],
            content=KeyObjectSelection(
                document_title=codes.DCM.RejectedForQualityReasons,
                referenced_objects=[evidence],
                observer_device_context=_device(),
                description=why,
            ),
            series_instance_uid=derived_uid("rejections", source.study),
            series_number=_REJECTION_SERIES,
            series_description="Rejected images (radray)",
            sop_instance_uid=uid,
            instance_number=_instance_number(uid),
            **_maker(decided),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ObjectError(Reason.CORRUPT_HEADER, f"no note can refer to it ({type(error).__name__})") from error
    return Corrected(_written(note, decided), note.SOPClassUID, uid, uid)


def _maker(decided: datetime) -> dict[str, Any]:
    return {
        "manufacturer": "radray",
        "manufacturer_model_name": "radray",
        "software_versions": __version__,
        "device_serial_number": "none",
        "content_date": decided.date(),
        "content_time": decided.time().replace(microsecond=0),
        "specific_character_set": "ISO_IR 192",
    }


def _person(reviewer: str | None) -> ObserverContext | None:
    """The person who decided: a name of one component, without the signs that would divide it (PS3.5 6.2.1)."""
    if reviewer is None:
        return None
    name = re.sub(r"[\\^=]+", " ", reviewer).strip()[:64] or "reviewer"
    return ObserverContext(codes.DCM.Person, PersonObserverIdentifyingAttributes(name=f"{name}^"))


def _device() -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(uid=_DEVICE, name="radray", model_name=f"radray {__version__}")
    return ObserverContext(codes.DCM.Device, attributes)


def _evidence(source: Source) -> Dataset:
    """What a document takes over from the image: patient, study and reference; values that break their rules go."""
    header, evidence = source.parsed.dataset, Dataset()
    for keyword in (*_PLAIN, *_NAMES):
        setattr(evidence, keyword, text(header, keyword) or "")
    for keyword in _DATES:
        found = text(header, keyword) or ""
        setattr(evidence, keyword, found if _is_date(found) else "")
    time = text(header, "StudyTime") or ""
    evidence.StudyTime = time if _TIME.fullmatch(time) else ""
    sex = text(header, "PatientSex")
    evidence.PatientSex = sex if sex in ("M", "F", "O") else ""
    for keyword in _PLAIN[-2:]:
        if not evidence[keyword].value:
            del evidence[keyword]
    evidence.StudyInstanceUID = source.study
    evidence.SeriesInstanceUID = text(header, "SeriesInstanceUID") or source.study
    evidence.SOPClassUID, evidence.SOPInstanceUID = source.sop_class, source.sop_instance
    if source.parsed.pixels is not None:
        evidence.Rows = evidence.Columns = 1  # tells an image from other objects; no size is taken over
    return evidence


def _is_date(found: str) -> bool:
    try:
        return len(found) == 8 and bool(datetime.strptime(found, "%Y%m%d"))
    except ValueError:
        return False


def _instance_number(uid: str) -> int:
    """A number that differs within the series and is the same every time (IS, at most 2^31 - 1)."""
    return int(uid.rsplit(".", 1)[-1]) % 2_000_000_000 + 1


def _written(document: Any, decided: datetime) -> bytes:
    document.InstanceCreationDate = decided.strftime("%Y%m%d")
    document.InstanceCreationTime = decided.strftime("%H%M%S")
    for item in document.get("ContributingEquipmentSequence", ()):  # highdicom names itself, with the time of day
        item.ContributionDateTime = decided.strftime("%Y%m%d%H%M%S%z")
    document.file_meta.ImplementationClassUID = IMPLEMENTATION
    document.file_meta.ImplementationVersionName = f"RADRAY_{__version__}"[:16]
    stream = io.BytesIO()
    dcmwrite(stream, document, enforce_file_format=True)
    return stream.getvalue()
