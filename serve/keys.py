"""Who may ask for what: bearer keys of 192 random bits, of which only SHA-256 hashes are kept.

python -m serve.keys --keys keys.csv --name orthanc --roles predict     # prints the key, once
RADRAY_API_KEYS=keys.csv serve run serve.app:app

The file has the columns name, roles (divided by spaces) and key_sha256. RADRAY_API_KEYS may also hold the entries
themselves, `name:role+role:hash` divided by commas.
"""

import csv
import hmac
import io
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from radray import storage
from radray.cli import parse
from radray.errors import ConfigError
from radray.review.reviewers import check_name, hash_token, new_token

COLUMNS = ("name", "roles", "key_sha256")


class Role(StrEnum):
    """What a key may do."""

    PREDICT = "predict"
    """Ask for regions, the classes and the model's card."""
    RELABEL = "relabel"
    """Start, follow and stop jobs over archives."""
    REVIEW = "review"
    """Open the review page's data, beside the reviewer's own token."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    name: str
    roles: frozenset[Role]


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One key, as it is kept."""

    name: str
    roles: frozenset[Role]
    key_sha256: str

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.roles:
            raise ConfigError(f"RADRAY_API_KEYS: {self.name} has no role; give some of {', '.join(Role)}")
        if len(self.key_sha256) != 64 or set(self.key_sha256) - set("0123456789abcdef"):
            raise ConfigError(f"RADRAY_API_KEYS: key_sha256 of {self.name} is not 64 hex digits")


class KeyRing:
    """The keys that are known."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._keys)

    def identify(self, key: str) -> Caller | None:
        """Whose key it is; all are compared, each in constant time."""
        given = hash_token(key)
        found = [each for each in self._keys if hmac.compare_digest(given, each.key_sha256)]
        return Caller(name=found[0].name, roles=found[0].roles) if found else None


def read_keys(given: str) -> list[ApiKey]:
    """The keys of a file, or of entries as they stand in RADRAY_API_KEYS; none for an empty text.

    Raises:
        ConfigError: No such file, another file, an unknown role, a hash that is none, a name that stands there twice.
    """
    if not given.strip():
        return []
    rows = _inline(given) if _is_inline(given) else _from_file(given)
    keys = [ApiKey(name=name, roles=_roles(name, roles), key_sha256=digest.lower()) for name, roles, digest in rows]
    if len({each.name for each in keys}) < len(keys):
        raise ConfigError("RADRAY_API_KEYS: a name stands there twice")
    return keys


def _is_inline(given: str) -> bool:
    return len(given.split(",")[0].rsplit(":", 1)[-1].strip()) == 64 and given.count(":") >= 2


def _inline(given: str) -> list[tuple[str, str, str]]:
    rows = [tuple(part.strip().split(":")) for part in given.split(",") if part.strip()]
    if any(len(row) != 3 for row in rows):
        raise ConfigError("RADRAY_API_KEYS: an entry is not name:role+role:hash")
    return [(row[0], row[1].replace("+", " "), row[2]) for row in rows]


def _from_file(url: str) -> list[tuple[str, str, str]]:
    storage.check_input(url, "RADRAY_API_KEYS")
    try:
        rows = list(csv.DictReader(io.StringIO(storage.read_bytes(url).decode("utf-8-sig"), newline="")))
        return [(row["name"] or "", row["roles"] or "", row["key_sha256"] or "") for row in rows]
    except (UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ConfigError(f"RADRAY_API_KEYS {url}: not a CSV file with the columns {', '.join(COLUMNS)}") from error


def _roles(name: str, roles: str) -> frozenset[Role]:
    try:
        return frozenset(Role(each) for each in roles.split())
    except ValueError as error:
        raise ConfigError(f"RADRAY_API_KEYS: {name} has the roles {roles!r}; give some of {', '.join(Role)}") from error


@dataclass(frozen=True, kw_only=True)
class NewKeyConfig:
    """Make a key, print it once, and add its hash to the file."""

    keys: str
    """URL of the keys file; begun where it is not there."""
    name: str
    """Who gets the key."""
    roles: tuple[Literal["predict", "relabel", "review"], ...] = ("predict",)
    """What it may do."""

    def check(self) -> None:
        """Look at the file before any work.

        Raises:
            ConfigError: It cannot be written.
        """
        storage.check_output(storage.parent(self.keys), "--keys")


def add_key(config: NewKeyConfig) -> str:
    """Add a key to the file; return it.

    Raises:
        ConfigError: The name has a key already or cannot be used, or the file is another one.
    """
    known = read_keys(config.keys) if storage.exists(config.keys) else []
    name = check_name(config.name)
    if name in {each.name for each in known}:
        raise ConfigError(f"--name {name} has a key in {config.keys} already; take its line out to give another")
    key = new_token()
    known.append(ApiKey(name=name, roles=frozenset(map(Role, config.roles)), key_sha256=hash_token(key)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((each.name, " ".join(sorted(each.roles)), each.key_sha256) for each in known)
    storage.write_bytes(config.keys, text.getvalue().encode())
    if storage.locate(config.keys).is_local:
        os.chmod(storage.locate(config.keys).path, 0o600)
    return key


if __name__ == "__main__":
    try:
        given = parse(NewKeyConfig)
        given.check()
        print(json.dumps({"name": given.name, "key": add_key(given)}))
    except ConfigError as problem:
        print(f"radray: {problem}", file=sys.stderr)
        sys.exit(2)
