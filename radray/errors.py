"""Every error of radray, one tree.

    RadrayError
    ├── ConfigError   what the user asked for cannot be done: one line, exit code 2, before any work
    │   └── BundleError   a bundle that is damaged, of another format, or does not fit the data
    └── ObjectError   one object cannot be used: a row with a `Reason`, never an exception at the top

Anything else that reaches the top is a fault of ours: traceback, exit code 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RadrayError(Exception):
    """Root of the tree."""


class ConfigError(RadrayError):
    """Bad configuration. The message says what was given, what is allowed, what to set."""


def check_ranges(config: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Hold fields of a stage's configuration against their ranges, both ends included.

    Raises:
        ConfigError: The first field outside, by the name of its option.
    """
    for name, (low, high) in ranges.items():
        given = getattr(config, name)
        if not low <= given <= high:
            raise ConfigError(f"--{name.replace('_', '-')} is {given}; set a number from {low} to {high}")


class BundleError(ConfigError):
    """A bundle that cannot be used: damaged, of another format version, or for other data."""


class Status(StrEnum):
    """What became of an object at a stage."""

    OK = "ok"
    """Used: it has an image, or a prediction."""
    SET_ASIDE = "set_aside"
    """Readable, but not wanted (not a radiograph, no pixels, a copy)."""
    FAILED = "failed"
    """Wanted, but it could not be read."""


class Reason(StrEnum):
    """Why an object was set aside or failed: a closed list (DESIGN: a row never disappears)."""

    NOT_DICOM = "not_dicom"
    NOT_RADIOGRAPH = "not_radiograph"
    NO_PIXELS = "no_pixels"
    SECONDARY_CAPTURE = "secondary_capture"
    DERIVED_IMAGE = "derived_image"
    RARE_IMAGE_TYPE = "rare_image_type"
    ODD_SHAPE = "odd_shape"
    EXACT_COPY = "exact_copy"
    BLANK_IMAGE = "blank_image"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    CORRUPT_HEADER = "corrupt_header"
    CORRUPT_PIXELS = "corrupt_pixels"
    TOO_LARGE = "too_large"
    FETCH_FAILED = "fetch_failed"
    DECODER_CRASHED = "decoder_crashed"
    DECODE_TIMEOUT = "decode_timeout"
    NO_REGION = "no_region"
    SOME_FRAMES = "some_frames"
    SIGNED = "signed"

    @property
    def status(self) -> Status:
        """`SET_ASIDE` for objects that are readable but unwanted, `FAILED` for the rest."""
        return Status.SET_ASIDE if self in _UNWANTED else Status.FAILED


_UNWANTED = frozenset(
    {
        Reason.NOT_DICOM,
        Reason.NOT_RADIOGRAPH,
        Reason.NO_PIXELS,
        Reason.SECONDARY_CAPTURE,
        Reason.DERIVED_IMAGE,
        Reason.RARE_IMAGE_TYPE,
        Reason.ODD_SHAPE,
        Reason.EXACT_COPY,
        Reason.BLANK_IMAGE,
        Reason.NO_REGION,
        Reason.SOME_FRAMES,
        Reason.SIGNED,
    }
)


class ObjectError(RadrayError):
    """One object cannot be used.

    Args:
        reason: From the closed list.
        message: What was found; it must not hold patient identity (no header values of free text).
    """

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(f"{reason.value}: {message}" if message else reason.value)
        self.reason = reason
        self.message = message
