"""The answer to STOW-RS in the DICOM JSON Model (PS3.18 10.5.3, Annex F).

Of each object the item in ReferencedSOPSequence (0008,1199) holds, beside its UIDs, what was found: BodyPartExamined
(0018,0015), AnatomicRegionSequence (0008,2218), and in a private block of group 0077 what has no element of its own:

| element | VR | |
|---|---|---|
| (0077,1001) | LO | name of the region |
| (0077,1002) | FD | confidence |
| (0077,1003) | CS | YES where the bundle abstains |
| (0077,1004) | FD | out-of-domain score |
| (0077,1005) | LO | region that the header names, empty without |
| (0077,1006) | LO | digest of the bundle |
| (0077,1010) | LO | why an object in FailedSOPSequence or OtherFailuresSequence was not used |

Nothing is stored: RetrieveURL is empty.
"""

from typing import Any

from radray.dicom.correction import Source
from radray.errors import Reason
from radray.regions import Region
from serve.answers import RegionAnswer

MEDIA_TYPE = "application/dicom+json"
CREATOR = "RADRAY"
FAILURES = {
    Reason.NOT_RADIOGRAPH: 0x0122,
    Reason.SECONDARY_CAPTURE: 0x0122,
    Reason.NO_PIXELS: 0x0122,
    Reason.UNSUPPORTED_TRANSFER_SYNTAX: 0xC122,
    Reason.TOO_LARGE: 0xA700,
    Reason.DECODE_TIMEOUT: 0xA700,
    Reason.DECODER_CRASHED: 0x0110,
    Reason.NOT_DICOM: 0xC000,
    Reason.CORRUPT_HEADER: 0xC000,
    Reason.CORRUPT_PIXELS: 0xC000,
}
"""Failure Reason (0008,1197), PS3.18 Table I.2-2; processing failure (0110) for the reasons that are not listed."""
_RETRIEVE_URL, _REFERENCED, _FAILED, _OTHER = "00081190", "00081199", "00081198", "0008119A"
Item = dict[str, Any]


def describe_answer(source: Source, answer: RegionAnswer, region: Region) -> Item:
    """The item of an object that was used."""
    code = {
        "00080100": _element("SH", region.snomed_code),
        "00080102": _element("SH", "SCT"),
        "00080104": _element("LO", region.snomed_meaning[:64]),
    }
    return {
        **_names(source),
        _RETRIEVE_URL: _element("UR"),
        "00082218": {"vr": "SQ", "Value": [code]},
        "00180015": _element("CS", region.body_part_examined),
        "00770010": _element("LO", CREATOR),
        "00771001": _element("LO", answer.region),
        "00771002": _element("FD", answer.confidence),
        "00771003": _element("CS", "YES" if answer.abstained else "NO"),
        "00771004": _element("FD", answer.ood_score),
        "00771005": _element("LO", *([answer.header_label] if answer.header_label else [])),
        "00771006": _element("LO", answer.bundle[:64]),
    }


def describe_failure(source: Source | None, reason: Reason) -> Item:
    """The item of an object that was not used."""
    return {
        **(_names(source) if source else {}),
        "00081197": _element("US", FAILURES.get(reason, 0x0110)),
        "00770010": _element("LO", CREATOR),
        "00771010": _element("LO", reason.value),
    }


def describe_request(used: list[Item], failed: list[Item]) -> tuple[int, dict[str, Any]]:
    """HTTP status and document of the whole request: 200 all, 202 some, 409 none were used (PS3.18 10.5.3.1)."""
    named = [item for item in failed if "00081155" in item]
    nameless = [item for item in failed if "00081155" not in item]
    document: dict[str, Any] = {_RETRIEVE_URL: _element("UR")}
    for tag, items in ((_REFERENCED, used), (_FAILED, named), (_OTHER, nameless)):
        if items:
            document[tag] = {"vr": "SQ", "Value": items}
    return (200 if not failed else 202 if used else 409), document


def _names(source: Source) -> Item:
    return {"00081150": _element("UI", source.sop_class), "00081155": _element("UI", source.sop_instance)}


def _element(vr: str, *values: object) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
