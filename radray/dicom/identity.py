"""Keyed hashes in place of identities: HMAC-SHA256 under a site secret (RFC 2104, FIPS 198-1).

Without a secret the hash is a plain SHA-256. Anyone who can guess a patient ID can then recompute it: such a table
is pseudonymous at best, never anonymous, and must not leave the house.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

_PLACEHOLDERS = frozenset(
    {"", "0", "1", "anon", "anonymous", "anonymized", "anonymised", "none", "n/a", "na", "null", "unknown", "x", "xxx"}
)
"""PatientIDs that many objects of different people carry."""


@dataclass(frozen=True)
class Pseudonyms:
    """Maker of pseudonyms.

    Args:
        secret: Of the site; None for unkeyed hashes (see the module's warning).
    """

    secret: bytes | None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Pseudonyms(keyed={self.secret is not None})"

    def of(self, kind: str, text: str) -> str:
        """64 hexadecimal digits for `text` as a `kind` of thing (`patient`, `term`)."""
        message = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
        if self.secret is None:
            return hashlib.sha256(message).hexdigest()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    def patient(self, patient_id: str | None, issuer: str | None, study_uid: str | None) -> str | None:
        """The patient's pseudonym; the study's where Patient ID is empty or a placeholder; None without either."""
        name = (patient_id or "").strip()
        if name.lower() not in _PLACEHOLDERS:
            return self.of("patient", f"{name}\0{(issuer or '').strip()}")
        return self.of("study", study_uid) if study_uid else None

    def key(self, name: str) -> str:
        """32 hexadecimal digits for an object's URL or a UID."""
        return self.of("key", name)[:32]

    def term(self, text: str) -> str:
        """A short pseudonym of a header's text: equal texts can be counted, none can be read."""
        return f"#{self.of('term', text.strip().casefold())[:16]}"
