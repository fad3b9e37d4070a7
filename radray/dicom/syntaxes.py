"""Transfer syntaxes (PS3.5 Annex A, PS3.6 Annex A) and the codec that reads each."""

from __future__ import annotations

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED = frozenset({"1.2.840.10008.1.2", EXPLICIT_LITTLE, DEFLATED, "1.2.840.10008.1.2.2"})
"""Implicit VR Little Endian, Explicit VR Little Endian, Deflated, Explicit VR Big Endian."""

CODECS = {
    "1.2.840.10008.1.2.4.50": "jpeg",
    "1.2.840.10008.1.2.4.51": "jpeg",
    "1.2.840.10008.1.2.4.53": "jpeg",
    "1.2.840.10008.1.2.4.55": "jpeg",
    "1.2.840.10008.1.2.4.57": "jpeg",
    "1.2.840.10008.1.2.4.70": "jpeg",
    "1.2.840.10008.1.2.4.80": "jpegls",
    "1.2.840.10008.1.2.4.81": "jpegls",
    "1.2.840.10008.1.2.4.90": "jpeg2000",
    "1.2.840.10008.1.2.4.91": "jpeg2000",
    "1.2.840.10008.1.2.4.92": "jpeg2000",
    "1.2.840.10008.1.2.4.93": "jpeg2000",
    "1.2.840.10008.1.2.4.110": "jpegxl",
    "1.2.840.10008.1.2.4.111": "jpegxl",
    "1.2.840.10008.1.2.4.112": "jpegxl",
    "1.2.840.10008.1.2.4.201": "jpeg2000",
    "1.2.840.10008.1.2.4.202": "jpeg2000",
    "1.2.840.10008.1.2.4.203": "jpeg2000",
    "1.2.840.10008.1.2.5": "rle",
    "1.2.840.10008.1.2.8.1": "deflated_frame",
}
"""Encapsulated syntaxes: JPEG baseline to lossless, JPEG-LS, JPEG 2000 and HTJ2K, JPEG XL, RLE, deflated frames."""


LOSSY = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 53, 55, 81, 91, 93, 112, 203))
"""Syntaxes whose decoded samples may differ from those encoded, and lie beyond Bits Stored."""


def is_supported(transfer_syntax: str) -> bool:
    """Whether `pixels.decode` can read frames of this transfer syntax UID."""
    return transfer_syntax in UNCOMPRESSED or transfer_syntax in CODECS
