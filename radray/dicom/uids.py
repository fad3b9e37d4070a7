"""UIDs that a decision gives: the same decision on the same object always makes the same UID."""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("6b0b7a52-6f0e-5d0c-9d53-2f6d8a3c1e47")


def derived_uid(*parts: str) -> str:
    """A UID made of `parts`: name-based UUID below 2.25 (PS3.5 B.2, ITU-T X.667).

    >>> derived_uid("copy", "1.2.3") == derived_uid("copy", "1.2.3") != derived_uid("copy", "1.2", "3")
    True
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


IMPLEMENTATION = derived_uid("radray")
"""Implementation Class UID (0002,0012) of files that radray writes."""
