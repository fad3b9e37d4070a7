"""Objects made for the tests: one radiograph-like picture, stored in every way."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from radray.dicom.parsing import lenient

ROWS, COLUMNS = 512, 384
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNKNOWN_TO_PYDICOM = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1")
STAND_IN = "1.2.840.10008.1.2.4.100"
"""Written in place of syntaxes that pydicom refuses to write, then replaced."""


def picture() -> np.ndarray:
    """A shaft with two cortices in soft tissue, with grain: float in [0, 1], `[512, 384]`."""
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(float)
    axis = 190 + 30 * np.sin(rows / 160)
    tissue = np.exp(-(((columns - axis) / 120) ** 4))
    bone = np.exp(-(((columns - axis) / 40) ** 8)) - 0.6 * np.exp(-(((columns - axis) / 28) ** 8))
    grain = np.random.default_rng(7).normal(0, 0.01, rows.shape)
    marker = ((rows - 60) ** 2 + (columns - 330) ** 2 < 400) * 0.4
    return np.clip(0.05 + 0.35 * tissue + 0.4 * bone + marker + grain, 0, 1)


def stored(bits: int = 12, signed: bool = False) -> np.ndarray:
    """The picture as stored values of `bits` bits."""
    values = np.round(picture() * (2**bits - 1)).astype(np.int64)
    if signed:
        return (values - 2 ** (bits - 1)).astype(np.int16)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def dataset(pixels: np.ndarray, bits: int, **elements: Any) -> Dataset:
    """A DX object without pixels, its Image Pixel module fit to `pixels`."""
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    header.SOPInstanceUID = "1.2.3.4"
    header.StudyInstanceUID = "1.2.3"
    header.SeriesInstanceUID = "1.2.3.5"
    header.Modality = "DX"
    header.PatientID = "4711"
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    header.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 if bits <= 8 else 16
    header.BitsStored, header.HighBit = bits, bits - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    header.WindowCenter, header.WindowWidth = 2 ** (bits - 1), 2**bits
    with lenient():
        for keyword, value in elements.items():
            if value is None:
                del header[keyword]
            else:
                setattr(header, keyword, value)
    return header


def written(header: Dataset, syntax: str, *, preamble: bool = True) -> bytes:
    """The object's bytes."""
    with lenient():
        return _written(header, syntax, preamble)


def _written(header: Dataset, syntax: str, preamble: bool) -> bytes:
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    if not preamble:
        del header.file_meta
        dcmwrite(stream, header, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        return stream.getvalue()
    if syntax in UNKNOWN_TO_PYDICOM:
        header.file_meta.TransferSyntaxUID = STAND_IN
        dcmwrite(stream, header, implicit_vr=False, little_endian=True, enforce_file_format=True)
        return stream.getvalue().replace(STAND_IN.encode(), syntax.encode().ljust(len(STAND_IN), b"\0"), 1)
    dcmwrite(stream, header, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return stream.getvalue()


ENCODERS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "1.2.840.10008.1.2.4.50": lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, level=98),
    "1.2.840.10008.1.2.4.51": lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=bits),
    "1.2.840.10008.1.2.4.57": lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits),
    "1.2.840.10008.1.2.4.70": lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits),
    "1.2.840.10008.1.2.4.80": lambda pixels, bits: imagecodecs.jpegls_encode(pixels),
    "1.2.840.10008.1.2.4.81": lambda pixels, bits: imagecodecs.jpegls_encode(pixels, level=2),
    "1.2.840.10008.1.2.4.90": lambda pixels, bits: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    "1.2.840.10008.1.2.4.91": lambda pixels, bits: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", level=60, bitspersample=bits
    ),
    "1.2.840.10008.1.2.4.110": lambda pixels, bits: imagecodecs.jpegxl_encode(pixels, lossless=True),
    "1.2.840.10008.1.2.8.1": lambda pixels, bits: zlib.compress(pixels.tobytes(), wbits=-15),
}
"""Transfer syntax to a frame's encoder."""


def make_object(pixels: np.ndarray, syntax: str = EXPLICIT, bits: int = 12, **elements: Any) -> bytes:
    """A whole object that stores `pixels` under `syntax`."""
    header = dataset(pixels, bits, **elements)
    if syntax in ENCODERS:
        header.PixelData = encapsulate([ENCODERS[syntax](pixels, bits)])
        header["PixelData"].VR = "OB"
    elif syntax == "1.2.840.10008.1.2.5":
        from pydicom.pixels import get_encoder

        encode = get_encoder(syntax).encode
        options = {
            name: int(header[keyword].value)
            for name, keyword in {
                "rows": "Rows",
                "columns": "Columns",
                "samples_per_pixel": "SamplesPerPixel",
                "bits_allocated": "BitsAllocated",
                "bits_stored": "BitsStored",
                "pixel_representation": "PixelRepresentation",
            }.items()
        }
        options |= {
            "photometric_interpretation": header.PhotometricInterpretation,
            "number_of_frames": 1,
            "planar_configuration": 0,
        }
        frame = encode(pixels, encoding_plugin="pydicom", **options)
        header.PixelData = encapsulate([frame])
        header["PixelData"].VR = "OB"
    else:
        if syntax == BIG_ENDIAN and pixels.dtype.itemsize == 2:
            pixels = pixels.byteswap()
        header.PixelData = pixels.tobytes()
        header["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    return written(header, syntax)


def block_mean(values: np.ndarray, times: int) -> np.ndarray:
    """The slow, obvious way to shrink: the mean of each block."""
    rows, columns = values.shape[0] // times, values.shape[1] // times
    return values.reshape(rows, times, columns, times).mean(axis=(1, 3))


@pytest.fixture
def grey() -> np.ndarray:
    """The picture at a quarter of its size, by block means."""
    return block_mean(picture(), 4)
