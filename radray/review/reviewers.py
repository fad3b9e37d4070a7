"""Who may review: names and the hashes of their tokens, in a small CSV file. The tokens themselves are nowhere."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import secrets
from collections.abc import Iterable, Mapping

from radray import storage
from radray.errors import ConfigError

COLUMNS = ("name", "token_sha256")
LONGEST_NAME = 60


class Reviewers:
    """Names and tokens; without any name, one token for all, who then say who they are."""

    def __init__(self, hashes: Mapping[str, str], shared_token: str | None = None) -> None:
        """Take name → SHA-256 of the token in hex digits, or the one token that all share."""
        self._hashes = dict(hashes)
        self._shared = None if shared_token is None else hash_token(shared_token)

    @property
    def names(self) -> list[str]:
        """Of those with a token of their own."""
        return list(self._hashes)

    def identify(self, token: str) -> tuple[bool, str | None]:
        """Whether a token is known, and whose it is (None: the shared one)."""
        given = hash_token(token)
        # All are compared, each in constant time: how long it takes tells nothing.
        matches = [name for name, known in self._hashes.items() if hmac.compare_digest(given, known)]
        shared = self._shared is not None and hmac.compare_digest(given, self._shared)
        return bool(matches) or shared, matches[0] if matches else None


def hash_token(token: str) -> str:
    """SHA-256 in hex digits; enough for a random token of 192 bits, which nobody can guess from it."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """A token of 192 random bits."""
    return secrets.token_urlsafe(24)


def check_name(name: str) -> str:
    """The name without spaces around it.

    Raises:
        ConfigError: Empty, too long, or with control characters.
    """
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"reviewer {name[:80]!r}: a name has 1 to {LONGEST_NAME} printable characters")
    return name


def read_reviewers(url: str) -> dict[str, str]:
    """Name → hash of the token.

    Raises:
        ConfigError: The file is missing or another one.
    """
    if not storage.exists(url):
        raise ConfigError(f"--reviewers {url}: no such file; name reviewers with --reviewer to begin it")
    try:
        rows = list(csv.DictReader(io.StringIO(storage.read_bytes(url).decode("utf-8-sig"), newline="")))
        found = {check_name(row["name"] or ""): (row["token_sha256"] or "").lower() for row in rows}
    except (UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ConfigError(f"--reviewers {url}: not a CSV file with the columns {', '.join(COLUMNS)}") from error
    if bad := [name for name, known in found.items() if len(known) != 64 or set(known) - set("0123456789abcdef")]:
        raise ConfigError(f"--reviewers {url}: token_sha256 of {bad[0]!r} is not 64 hex digits")
    if len(found) < len(rows):
        raise ConfigError(f"--reviewers {url}: a name stands there twice")
    return found


def add_reviewers(url: str, names: Iterable[str]) -> dict[str, str]:
    """Give those names that are not in the file a token; return name → token, to be told once.

    Raises:
        ConfigError: A name that cannot be used, or another file.
    """
    known = read_reviewers(url) if storage.exists(url) else {}
    tokens = {name: new_token() for name in dict.fromkeys(map(check_name, names)) if name not in known}
    if tokens:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([*known.items(), *((name, hash_token(token)) for name, token in tokens.items())])
        storage.write_bytes(url, text.getvalue().encode())
        if storage.locate(url).is_local:
            os.chmod(storage.locate(url).path, 0o600)
    return tokens
