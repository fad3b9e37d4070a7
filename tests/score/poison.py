"""Objects made to hurt whoever reads them: real codecs' frames that promise too much, never end, or are damaged."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.1"


def dicom(syntax: str, rows: int, columns: int, pixels: bytes, bits: int = 8, **values: object) -> bytes:
    """A computed radiograph of one frame; `pixels` are encapsulated where the syntax is compressed."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = SOP_CLASS
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.Modality, made.PatientID, made.PatientName = "CR", "4711", "Mustermann^Erika"
    made.Rows, made.Columns, made.SamplesPerPixel = rows, columns, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    for name, value in values.items():
        setattr(made, name, value)
    plain = syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
    made.PixelData = pixels if plain else encapsulate([pixels])
    made["PixelData"].VR = "OB" if bits == 8 or not plain else "OW"
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_size(frame: bytes, marker: bytes, offset: int, width: int, height: int, each: int) -> bytes:
    """The frame with another size written behind a marker."""
    place = frame.index(marker) + offset
    order = (width, height) if marker == b"\xff\x51" else (height, width)
    text = b"".join(number.to_bytes(each, "big") for number in order)
    return frame[:place] + text + frame[place + len(text) :]


def endless_jpeg(side: int, scans: int) -> bytes:
    """A small progressive JPEG that repeats its last scan: each costs a pass over all coefficients."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 90).save(stream, "JPEG", progressive=True)
    body = stream.getvalue()
    last = body.rindex(b"\xff\xda")
    return body[:-2] + body[last:-2] * scans + b"\xff\xd9"


def poisons() -> dict[str, bytes]:
    """Name → object."""
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    j2k, ls = imagecodecs.jpeg2k_encode(grey, codecformat="j2k"), imagecodecs.jpegls_encode(grey)
    jpeg = imagecodecs.jpeg8_encode(grey)
    huge = 60_000
    return {
        "plain_promise": dicom(ExplicitVRLittleEndian, huge, huge, b"\0" * 100),
        "j2k_promise": dicom(JPEG2000Lossless, huge, huge, j2k),
        "j2k_promise_inside": dicom(JPEG2000Lossless, 64, 64, with_size(j2k, b"\xff\x51", 6, huge, huge, 4)),
        "jpeg_promise_inside": dicom(JPEGBaseline8Bit, 64, 64, with_size(jpeg, b"\xff\xc0", 5, huge, huge, 2)),
        "jpegls_promise_inside": dicom(JPEGLSLossless, 64, 64, with_size(ls, b"\xff\xf7", 5, huge, huge, 2)),
        "rle_promise": dicom(RLELossless, 14_000, 14_000, b"\1\0\0\0\x40" + b"\0" * 59 + b"\x81\0" * 100),
        "jpeg_endless": dicom(JPEGBaseline8Bit, 12_000, 12_000, endless_jpeg(12_000, 4000)),
        "jpegls_noise": dicom(JPEGLSLossless, 64, 64, ls[:30] + bytes(np.random.default_rng(1).bytes(4000))),
        "j2k_cut": dicom(JPEG2000Lossless, 64, 64, j2k[: len(j2k) // 3]),
        "deflate_bomb": dicom(DeflatedExplicitVRLittleEndian, 20_000, 9_000, b"\0" * (20_000 * 9_000), bits=8),
        "frames_promise": dicom(ExplicitVRLittleEndian, 64, 64, grey.tobytes(), NumberOfFrames=2**31 - 1),
    }
