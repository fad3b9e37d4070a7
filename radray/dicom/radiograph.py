"""Which objects are radiographs, decided from the header alone."""

from __future__ import annotations

from dataclasses import dataclass

from radray.errors import ConfigError, ObjectError, Reason

RADIOGRAPH_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray Image Storage - For Processing
    }
)
"""SOP classes that hold radiographs whatever Modality (0008,0060) says (PS3.4 B.5)."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FILM = frozenset({"DF", "DI"})
"""Conversion Type (0008,0064): digitised film and a detector's digital interface are real radiographs."""
_NOT_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations
    "1.2.840.10008.5.1.4.1.1.67",  # real world value mapping
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.481.",  # radiotherapy
    "1.2.840.10008.1.3.10",  # media directory
)
DERIVED_TYPES = (
    "ANNOTATED",
    "ANNOTATION",
    "CAPTURE",
    "CUTOUT",
    "DOSEINFO",
    "DRAWING",
    "LOCALIZER",
    "MEASUREMENT",
    "MPR",
    "PRINT",
    "REFORMATTED",
    "REPORT",
    "SCREEN",
    "SCREEN SAVE",
    "SCREENSHOT",
    "SUBTRACTION",
    "TOMOGRAPHY",
    "TOMOSYNTHESIS",
)
"""Values of Image Type (0008,0008) of drawings, annotated copies and computed views."""

DEFAULT_MODALITIES = ("CR", "DX", "RG", "RF")


@dataclass(frozen=True, kw_only=True)
class RadiographRule:
    """What counts as a radiograph."""

    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    """Values of Modality (0008,0060) taken: CR, DX, RG, RF; XA and IO where a site stores plain radiographs so."""
    derived_types: tuple[str, ...] = DERIVED_TYPES
    """Values of Image Type (0008,0008) that are no radiographs."""
    first_of_many: bool = False
    """Whether the first frame stands for an object of several; else such objects are runs, not radiographs."""
    secondary_captures: bool = False
    """Whether Secondary Capture objects of these modalities are taken even when they are not digitised film."""

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ConfigError("modalities is empty; name at least one value of Modality, for example CR DX")

    def check_class(self, sop_class: str | None, modality: str | None) -> None:
        """Refuse objects by what they are.

        Raises:
            ObjectError: NOT_RADIOGRAPH.
        """
        if sop_class and sop_class.startswith(_NOT_IMAGES):
            raise ObjectError(Reason.NOT_RADIOGRAPH, "an object without an image of its own")
        if sop_class in RADIOGRAPH_CLASSES or (modality or "").upper() in self.modalities:
            return
        if sop_class and sop_class.startswith(_SECONDARY_CAPTURE) and modality in (None, "OT", "SC"):
            raise ObjectError(Reason.SECONDARY_CAPTURE, "a secondary capture of no radiographic modality")
        raise ObjectError(Reason.NOT_RADIOGRAPH, f"modality {_shown(modality)}")

    def check_image(
        self, *, sop_class: str | None, conversion: str | None, image_type: tuple[str, ...], frames: int | None
    ) -> None:
        """Refuse captures, drawings and runs.

        Raises:
            ObjectError: SECONDARY_CAPTURE, DERIVED_IMAGE or NOT_RADIOGRAPH.
        """
        is_capture = bool(sop_class) and str(sop_class).startswith(_SECONDARY_CAPTURE)
        if is_capture and not self.secondary_captures and conversion is not None and conversion not in _FILM:
            raise ObjectError(Reason.SECONDARY_CAPTURE, f"conversion type {_shown(conversion)}")
        if found := sorted(set(self.derived_types).intersection(image_type)):
            raise ObjectError(Reason.DERIVED_IMAGE, f"image type {found[0]}")
        if frames is not None and frames > 1 and not self.first_of_many:
            raise ObjectError(Reason.NOT_RADIOGRAPH, f"a run of {frames} frames")


def _shown(code: str | None) -> str:
    """A coded value for a message: only what can be a code string of the standard."""
    if code is None:
        return "not stated"
    return code if len(code) <= 4 and code.isascii() and code.isalnum() else "of an unknown kind"
