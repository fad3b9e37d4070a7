"""A corrected copy of a DICOM object: another anatomical region, a trail of what was before, everything else as it was.

The copy is spliced from bytes: elements that are not concerned, Pixel Data and what follows it are never decoded.

| element | in the copy |
|---|---|
| BodyPartExamined (0018,0015) | the region's defined term (PS3.16 Annex L) |
| AnatomicRegionSequence (0008,2218) | one item, the region's SNOMED CT code, without modifiers (PS3.3 10.5) |
| PrimaryAnatomicStructureSequence (0008,2228) | removed: it named a part of the other region |
| SOPInstanceUID (0008,0018), SeriesInstanceUID (0020,000E) | new, unless the UID is to stay |
| ReferencedImageSequence (0008,1140) | with a new UID, names the source (PS3.3 C.12.4) |
| ContributingEquipmentSequence (0018,A001) | gains radray as modifying equipment (PS3.3 C.12.1.1.5) |
| OriginalAttributesSequence (0400,0561) | gains the values before (PS3.3 C.12.1.1.9) |

A new UID comes with a new series: BodyPartExamined belongs to the series (PS3.3 C.7.3.1), and a PACS answers with what
it first saw of one. The source is a referenced image and no source image (C.7.6.1.1.4): no pixel was derived, and
ImageType stays as it is.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.charset import convert_encodings, encode_string
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from radray.dicom.elements import Encoding, Span, data_set_start, element_spans, value_end
from radray.dicom.parsing import ParsedObject, parse
from radray.dicom.syntaxes import DEFLATED
from radray.dicom.uids import IMPLEMENTATION, derived_uid
from radray.dicom.values import integer, text, value
from radray.errors import ObjectError, Reason
from radray.version import __version__

_PIXELS = 0x7FE00008
"""The first tag of pixel data: float, double float or integer; from here on nothing is touched."""
_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_BODY_PART = 0x00180015
_REGION, _STRUCTURE = 0x00082218, 0x00082228
_REFERENCED = 0x00081140
_EQUIPMENT = 0x0018A001
_ORIGINAL = 0x04000561
_MAC_PARAMETERS = 0x4FFE0001
_LENGTH_TO_END = 0x00080001
_UID = re.compile(r"[0-9.]{1,64}")
_DUAL = (b"II", b"MM")
"""How the preamble of a file begins that is TIFF as well (PS3.10 7.1); its offsets would be wrong in a copy."""


@dataclass(frozen=True, kw_only=True)
class RegionCorrection:
    """What a copy is to say."""

    body_part: str
    """Defined term of BodyPartExamined."""
    code: str
    """SNOMED CT code value."""
    meaning: str
    """Code meaning."""
    decided: str
    """When, as a DT value (PS3.5 6.2)."""
    decided_by: str
    """Who, in words without a name: `reviewer`, `model with bundle 3f0c…`."""
    salt: str = ""
    """More that the copy's UIDs depend on."""


class Corrected(NamedTuple):
    """A corrected copy."""

    body: bytes
    sop_class: str
    sop_instance: str
    """Of the copy."""
    name: str
    """A UID made of the source's bytes and the decision: what to call the file, whether or not the UID stays."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An object taken apart, as far as a copy, a report or a rejection note needs."""

    parsed: ParsedObject
    sop_class: str
    sop_instance: str
    study: str
    frames: int
    digest: str
    """SHA-256 of the object's bytes."""


def open_source(body: bytes) -> Source:
    """Read the header of an image that is to be corrected; to be called within `lenient()`.

    Raises:
        ObjectError: It is not DICOM, has no pixels or not all, lacks the UIDs that every object has, or is signed.
    """
    parsed = parse(body)
    if parsed.pixels is None:
        raise ObjectError(Reason.NO_PIXELS, "the object has no Pixel Data")
    pixels = parsed.pixels
    if value_end(parsed.body, pixels.offset, pixels.length, little=parsed.little_endian) is None:
        raise ObjectError(Reason.CORRUPT_PIXELS, "Pixel Data is cut off")
    if _MAC_PARAMETERS in parsed.dataset:
        raise ObjectError(Reason.SIGNED, "digitally signed: a copy would break the signature (PS3.3 C.12.1.1.3)")
    return source_of(parsed, body)


def source_of(parsed: ParsedObject, body: bytes) -> Source:
    """What documents about an object refer to, whether it is an image or not.

    Raises:
        ObjectError: CORRUPT_HEADER where it lacks the UIDs that every object has.
    """
    header = parsed.dataset
    uids = {keyword: text(header, keyword) or "" for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")}
    for keyword, uid in uids.items():
        if not _UID.fullmatch(uid):
            raise ObjectError(Reason.CORRUPT_HEADER, f"no valid {keyword}")
    return Source(
        parsed=parsed,
        sop_class=uids["SOPClassUID"],
        sop_instance=uids["SOPInstanceUID"],
        study=uids["StudyInstanceUID"],
        frames=integer(header, "NumberOfFrames") or 1,
        digest=hashlib.sha256(body).hexdigest(),
    )


def correct_region(source: Source, correction: RegionCorrection, *, same_uid: bool = False) -> Corrected:
    """A copy of `source` that says another region; to be called within `lenient()`.

    The same source and correction give the same bytes. The copy is read again before it is handed out: elements that
    are not concerned and everything from Pixel Data on must be the source's bytes.

    Args:
        source: As opened.
        correction: What to say.
        same_uid: Keep SOP Instance UID and series.

    Raises:
        ObjectError: CORRUPT_HEADER or UNSUPPORTED_TRANSFER_SYNTAX where a copy cannot be made.
    """
    parsed = source.parsed
    if not _UID.fullmatch(parsed.transfer_syntax):
        raise ObjectError(Reason.UNSUPPORTED_TRANSFER_SYNTAX, "the syntax is not a UID")
    implicit, little = parsed.dataset.original_encoding
    encoding = Encoding(implicit=bool(implicit), little=bool(little))
    start = data_set_start(parsed.body)
    spans, pixels = element_spans(parsed.body, start, encoding, _PIXELS)
    name = derived_uid("copy", source.digest, repr(correction), str(same_uid), __version__)
    instance = source.sop_instance if same_uid else name
    changed = _changes(source, correction, encoding, spans, None if same_uid else name)
    data_set = _spliced(parsed.body, spans, changed) + parsed.body[pixels:]
    body = _file(parsed, source.sop_class, instance, data_set)
    _check(body, source, spans, pixels, changed, correction)
    return Corrected(body, source.sop_class, instance, name)


def _changes(
    source: Source, correction: RegionCorrection, encoding: Encoding, spans: list[Span], new_uid: str | None
) -> dict[int, bytes]:
    """Tag → the element as it will be, empty where it goes."""
    body = source.parsed.body
    before = {span.tag: body[span.start : span.end] for span in spans}
    texts = _Texts(source.parsed.dataset, encoding)
    code = texts.code(correction.code, "SCT", correction.meaning)
    changed = {
        _BODY_PART: texts.element(_BODY_PART, "CS", correction.body_part),
        _REGION: encoding.sequence(_REGION, [code]),
    }
    if _STRUCTURE in before:
        changed[_STRUCTURE] = b""
    if new_uid is not None:
        series = text(source.parsed.dataset, "SeriesInstanceUID") or source.study
        own = derived_uid("series", series, correction.code)
        reference = texts.element(0x00081150, "UI", source.sop_class)
        reference += texts.element(0x00081155, "UI", source.sop_instance)
        changed[_SOP_INSTANCE] = texts.element(_SOP_INSTANCE, "UI", new_uid)
        changed[_SERIES] = texts.element(_SERIES, "UI", own)
        changed[_REFERENCED] = _appended(encoding, _REFERENCED, before.get(_REFERENCED), reference)
    # An attribute that was not there stands as an empty one among the values before.
    old = b"".join(before.get(tag) or encoding.element(tag, _vr(tag), b"") for tag in sorted(changed))
    changed[_EQUIPMENT] = _appended(encoding, _EQUIPMENT, before.get(_EQUIPMENT), _equipment(texts, correction))
    changed[_ORIGINAL] = _appended(encoding, _ORIGINAL, before.get(_ORIGINAL), _original(texts, correction, old))
    # Group lengths and Length to End are retired, and wrong once a group grows (PS3.5 7.2).
    groups = {tag >> 16 for tag in changed}
    stale = {tag for tag in before if tag == _LENGTH_TO_END or (tag & 0xFFFF == 0 and tag >> 16 in groups)}
    return {**dict.fromkeys(stale, b""), **changed}


def _vr(tag: int) -> str:
    return {_BODY_PART: "CS", _SOP_INSTANCE: "UI", _SERIES: "UI"}.get(tag, "SQ")


def _appended(encoding: Encoding, tag: int, before: bytes | None, content: bytes) -> bytes:
    items = encoding.items_of(before) if before is not None else None
    return encoding.element(tag, "SQ", (items or b"") + encoding.item(content))


def _equipment(texts: _Texts, correction: RegionCorrection) -> bytes:
    purpose = texts.code("109103", "DCM", "Modifying Equipment")
    return (
        texts.element(0x00080070, "LO", "radray")
        + texts.element(0x00081090, "LO", "radray")
        + texts.element(0x00181020, "LO", __version__)
        + texts.element(0x0018A002, "DT", correction.decided)
        + texts.element(0x0018A003, "ST", f"Anatomic region corrected as decided by {correction.decided_by}")
        + texts.encoding.sequence(0x0040A170, [purpose])
    )


def _original(texts: _Texts, correction: RegionCorrection, old: bytes) -> bytes:
    return (
        texts.encoding.sequence(0x04000550, [old])
        + texts.element(0x04000562, "DT", correction.decided)
        + texts.element(0x04000563, "LO", f"radray {__version__}")
        + texts.element(0x04000564, "LO", "")
        + texts.element(0x04000565, "CS", "CORRECT")
    )


class _Texts:
    """Elements of text in a data set's encoding and character set."""

    def __init__(self, dataset: Dataset, encoding: Encoding) -> None:
        self.encoding = encoding
        found = value(dataset, "SpecificCharacterSet")
        self._characters = convert_encodings(found) if found else []

    def element(self, tag: int, vr: str, words: str) -> bytes:
        return self.encoding.element(tag, vr, words.encode("ascii") if words.isascii() else self._encoded(words))

    def code(self, number: str, scheme: str, meaning: str) -> bytes:
        """The elements of a code (PS3.3 8.8)."""
        designator = self.element(0x00080102, "SH", scheme)
        return self.element(0x00080100, "SH", number) + designator + self.element(0x00080104, "LO", meaning[:64])

    def _encoded(self, words: str) -> bytes:
        """In the object's character sets (0008,0005); where it names none, in the default one (PS3.5 6.1.2.1)."""
        return bytes(encode_string(words, self._characters)) if self._characters else words.encode("ascii", "replace")


def _spliced(body: bytes, spans: list[Span], changed: dict[int, bytes]) -> bytes:
    """The elements in their order, those that change replaced, new ones before the first of a higher tag."""
    todo = sorted(tag for tag, element in changed.items() if element)
    parts: list[bytes] = []
    for span in spans:
        while todo and todo[0] <= span.tag:
            parts.append(changed[todo.pop(0)])
        if span.tag not in changed:
            parts.append(body[span.start : span.end])
    return b"".join([*parts, *(changed[tag] for tag in todo)])


def _file(parsed: ParsedObject, sop_class: str, instance: str, data_set: bytes) -> bytes:
    """Preamble, prefix, file meta information made anew (PS3.10 7.1), and the data set."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(parsed.transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = f"RADRAY_{__version__}"[:16]
    stream = DicomBytesIO()
    own = parsed.body[:128] if parsed.body[128:132] == b"DICM" else b""
    stream.write((own if own and own[:2] not in _DUAL else b"\0" * 128) + b"DICM")
    write_file_meta_info(stream, meta, enforce_standard=True)
    if parsed.transfer_syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data_set = deflate.compress(data_set) + deflate.flush()
        data_set += b"\0" * (len(data_set) % 2)
    stream.write(data_set)
    return stream.getvalue()


def _check(
    body: bytes,
    source: Source,
    spans: list[Span],
    pixels: int,
    changed: dict[int, bytes],
    correction: RegionCorrection,
) -> None:
    """Read the copy again and hold it against its source.

    Raises:
        ObjectError: CORRUPT_HEADER where the source's header is such that the copy reads differently.
    """
    copy, before = parse(body), source.parsed
    if copy.dataset.original_encoding != before.dataset.original_encoding:
        raise ObjectError(Reason.CORRUPT_HEADER, "the copy would be read in another encoding")
    implicit, little = copy.dataset.original_encoding
    encoding = Encoding(implicit=bool(implicit), little=bool(little))
    own, own_pixels = element_spans(copy.body, data_set_start(copy.body), encoding, _PIXELS)
    kept = [before.body[span.start : span.end] for span in spans if span.tag not in changed]
    if kept != [copy.body[span.start : span.end] for span in own if span.tag not in changed]:
        raise ObjectError(Reason.CORRUPT_HEADER, "the copy would not keep every other element")
    if copy.body[own_pixels:] != before.body[pixels:]:
        raise ObjectError(Reason.CORRUPT_HEADER, "the copy would not keep the pixels")
    if text(copy.dataset, "BodyPartExamined") != correction.body_part:
        raise ObjectError(Reason.CORRUPT_HEADER, "the copy would not name the region")
