"""Grey values to stored samples and stored samples to a DICOM file, in every transfer syntax a PACS hands out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID
from rle.utils import encode_pixel_data

from radray.phantom.projection import Image

Samples = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """A transfer syntax, how often it is met, and the bit depths it is written with."""

    uid: str
    weight: float
    bits: tuple[int, ...]


SYNTAXES = (
    Syntax(uid="1.2.840.10008.1.2.1", weight=36, bits=(8, 10, 12, 12, 14, 16)),  # explicit VR little endian
    Syntax(uid="1.2.840.10008.1.2", weight=17, bits=(10, 12, 12, 14, 16)),  # implicit VR little endian
    Syntax(uid="1.2.840.10008.1.2.1.99", weight=2.5, bits=(8, 12)),  # deflated
    Syntax(uid="1.2.840.10008.1.2.5", weight=4, bits=(8, 12, 14)),  # RLE
    Syntax(uid="1.2.840.10008.1.2.4.50", weight=14, bits=(8,)),  # JPEG baseline
    Syntax(uid="1.2.840.10008.1.2.4.51", weight=5, bits=(12,)),  # JPEG extended
    Syntax(uid="1.2.840.10008.1.2.4.57", weight=3, bits=(10, 12, 14, 16)),  # JPEG lossless
    Syntax(uid="1.2.840.10008.1.2.4.70", weight=8, bits=(8, 10, 12, 12, 14, 16)),  # JPEG lossless, first order
    Syntax(uid="1.2.840.10008.1.2.4.80", weight=2.5, bits=(8, 12, 16)),  # JPEG-LS lossless
    Syntax(uid="1.2.840.10008.1.2.4.81", weight=2.5, bits=(8, 12)),  # JPEG-LS near-lossless
    Syntax(uid="1.2.840.10008.1.2.4.90", weight=1.5, bits=(8, 12, 16)),  # JPEG 2000 lossless
    Syntax(uid="1.2.840.10008.1.2.4.91", weight=1.5, bits=(8, 12)),  # JPEG 2000
)

_NATIVE = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99")


@dataclass(kw_only=True)
class Stored:
    """Samples as stored, and the header elements that say how to read them."""

    samples: Samples
    syntax: str
    bits: int
    photometric: str
    elements: dict[str, object] = field(default_factory=dict)
    """Keyword -> value: rescale, window, sequences of lookup tables."""
    lut: str = ""
    """How the grey values are reached: plain, window, voi_lut, rescale, modality_lut."""


def store_samples(grey: Image, rng: np.random.Generator, syntax: Syntax | None = None) -> Stored:
    """Choose bits, photometric interpretation, and lookup tables, and quantise.

    Args:
        grey: Display values [rows, cols] in [0, 1], bone bright.
        rng: Draws every choice.
        syntax: Transfer syntax; None draws one by weight.
    """
    if syntax is None:
        weights = np.array([s.weight for s in SYNTAXES])
        syntax = SYNTAXES[int(rng.choice(len(SYNTAXES), p=weights / weights.sum()))]
    bits = int(rng.choice(syntax.bits))
    inverted = rng.random() < 0.14
    value = np.float32(1.0) - grey if inverted else grey
    full = (1 << bits) - 1
    lut = str(rng.choice(["plain", "window", "rescale", "voi_lut", "modality_lut"], p=[0.36, 0.36, 0.12, 0.11, 0.05]))
    elements: dict[str, object] = {}
    low, high, signed = 0.0, float(full), False
    if bits > 8 and lut in ("window", "rescale", "voi_lut"):
        low, high = full * float(rng.uniform(0.0, 0.25)), full * float(rng.uniform(0.5, 1.0))
    if lut == "voi_lut":
        # Stored values bend down; the lookup table bends them back.
        value = np.square(value)
    if lut == "modality_lut":
        value = value * np.float32(0.9) + np.float32(0.05)
    stored = np.round(value * np.float32(high - low) + np.float32(low))
    if lut == "rescale":
        slope, intercept = float(rng.choice([1.0, 0.25, 2.0])), float(rng.choice([0.0, -1024.0, -100.0]))
        elements |= {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
        elements |= _window(low * slope + intercept, high * slope + intercept)
    elif lut == "window":
        elements |= _window(low, high)
    elif lut == "voi_lut":
        first, entries = int(low), int(high - low) + 1
        curve = np.round(np.sqrt(np.linspace(0, 1, entries)) * 65535).astype(np.uint16)
        elements["VOILUTSequence"] = [_table(first, curve, "NORMAL")]
    elif lut == "modality_lut":
        count = min(full + 1, 4096)
        curve = np.clip(np.linspace(-0.05, 1.05, count) / 1.0, 0, 1)
        elements["ModalityLUTSequence"] = [_table(0, np.round(curve * 65535).astype(np.uint16), "", modality=True)]
        stored = np.round(stored * np.float32((count - 1) / full))
    if lut == "window" and bits in (12, 14) and syntax.uid in _NATIVE and rng.random() < 0.12:
        signed = True
        stored = stored - np.float32(1 << (bits - 1))
        elements |= _window(low - (1 << (bits - 1)), high - (1 << (bits - 1)))
    dtype: type[np.uint8] | type[np.uint16] | type[np.int16] = (
        np.int16 if signed else np.uint8 if bits == 8 else np.uint16
    )
    return Stored(
        samples=stored.astype(dtype), syntax=syntax.uid, bits=bits, lut=lut, elements=elements,
        photometric="MONOCHROME1" if inverted else "MONOCHROME2",
    )  # fmt: skip


def _window(low: float, high: float) -> dict[str, object]:
    """Window that maps low..high to the display's range (PS3.3 C.11.2.1.2.1, LINEAR)."""
    width = round(high - low) + 1
    return {"WindowCenter": str(round(low + width / 2, 1)), "WindowWidth": str(width)}


def _table(first: int, curve: NDArray[np.uint16], explanation: str, *, modality: bool = False) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(curve) if len(curve) < 65536 else 0, first, 16])
    if modality:
        item.ModalityLUTType = "US"
    else:
        item.LUTExplanation = explanation
    item.add_new("LUTData", "OW", curve.tobytes())
    return item


def encode_frame(samples: Samples, syntax: str, bits: int) -> bytes:
    """One frame in the codestream of an encapsulated transfer syntax; samples [rows, cols] or [rows, cols, 3]."""
    if syntax.endswith("4.50"):
        return bytes(imagecodecs.jpeg8_encode(samples, level=88))
    if syntax.endswith("4.51"):
        return bytes(imagecodecs.jpeg8_encode(samples, level=90, bitspersample=bits))
    if syntax.endswith(("4.57", "4.70")):
        predictor = 1 if syntax.endswith("70") else 5
        return bytes(imagecodecs.jpeg8_encode(samples, lossless=True, predictor=predictor, bitspersample=bits))
    if syntax.endswith("4.80"):
        return bytes(imagecodecs.jpegls_encode(samples))
    if syntax.endswith("4.81"):
        return bytes(imagecodecs.jpegls_encode(samples, level=2))
    if syntax.endswith("4.90"):
        return bytes(
            imagecodecs.jpeg2k_encode(samples, codecformat="J2K", reversible=True, bitspersample=bits, mct=False)
        )
    if syntax.endswith("4.91"):
        return bytes(
            imagecodecs.jpeg2k_encode(
                samples, codecformat="J2K", level=42, reversible=False, bitspersample=bits, mct=False
            )
        )
    if syntax.endswith("2.5"):
        channels = 1 if samples.ndim == 2 else 3
        return bytes(
            encode_pixel_data(
                samples.tobytes(), byteorder="<", rows=samples.shape[0], columns=samples.shape[1],
                samples_per_pixel=channels, bits_allocated=8 * samples.dtype.itemsize, number_of_frames=1,
            )
        )  # fmt: skip
    raise ValueError(f"no encoder for transfer syntax {syntax}")


def add_pixels(dataset: Dataset, stored: Stored) -> None:
    """Set the image pixel module (PS3.3 C.7.6.3) and the lookup elements."""
    samples = stored.samples
    dataset.SamplesPerPixel = 1 if samples.ndim == 2 else samples.shape[2]
    dataset.PhotometricInterpretation = stored.photometric
    dataset.Rows, dataset.Columns = int(samples.shape[0]), int(samples.shape[1])
    dataset.BitsAllocated = 8 * samples.dtype.itemsize
    dataset.BitsStored = stored.bits
    dataset.HighBit = stored.bits - 1
    dataset.PixelRepresentation = 1 if samples.dtype.kind == "i" else 0
    if samples.ndim == 3:
        dataset.PlanarConfiguration = 0
    for keyword, value in stored.elements.items():
        setattr(dataset, keyword, value)
    if stored.syntax in _NATIVE:
        body = samples.tobytes()
        dataset.add_new("PixelData", "OW" if samples.dtype.itemsize == 2 else "OB", body + b"\0" * (len(body) % 2))
    else:
        dataset.add_new("PixelData", "OB", encapsulate([encode_frame(samples, stored.syntax, stored.bits)]))
        dataset["PixelData"].is_undefined_length = True
        if stored.syntax.endswith(("4.50", "4.51", "4.81", "4.91")):
            dataset.LossyImageCompression = "01"


def file_bytes(dataset: Dataset, syntax: str) -> bytes:
    """The DICOM file (PS3.10) of a data set in a transfer syntax."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID("2.25.305828488182831875890203105390285383139")
    meta.FileMetaInformationVersion = b"\0\1"
    head, body = DicomBytesIO(), DicomBytesIO()
    head.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(head, meta, enforce_standard=True)
    body.is_little_endian, body.is_implicit_VR = True, syntax == "1.2.840.10008.1.2"
    write_dataset(body, dataset)
    packed = body.getvalue()
    if syntax == "1.2.840.10008.1.2.1.99":
        deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = deflate.compress(packed) + deflate.flush()
        packed += b"\0" * (len(packed) % 2)
    return bytes(head.getvalue() + packed)
