"""Image to image: pure functions that clean a radiograph, and their composition (no I/O, no Ray)."""

from radray.cleaning.composition import Cleaned, clean
from radray.cleaning.config import CleaningConfig
from radray.cleaning.field import find_exposed_field
from radray.cleaning.shapes import ExposedField

__all__ = ["Cleaned", "CleaningConfig", "ExposedField", "clean", "find_exposed_field"]
