"""An object in an S3 store that several processes change, none of which undoes what another has written."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from radray import storage
from radray.errors import ConfigError

_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "NoSuchKey")


class StoredObject:
    """Changed by conditional PUT: with If-Match, it is refused where the object is no longer the one that was read."""

    def __init__(self, url: str) -> None:
        """Take the object's URL and try beside it whether the store keeps conditions.

        Raises:
            ConfigError: No S3 store, or one that overwrites in spite of a condition.
        """
        self._place = storage.locate(url)
        if urlsplit(url).scheme not in ("s3", "s3a"):
            raise ConfigError(f"{url}: verdicts are kept in a folder or in S3; set --verdicts to one of them")
        self._etag: str | None = None
        probe = storage.join(storage.parent(url), "." + url.rsplit("/", 1)[1] + ".conditions")
        path = storage.locate(probe).path
        storage.write_bytes(probe, b"")
        conditions = ({"IfMatch": '"none"'}, {"IfNoneMatch": "*"})
        kept = all(self._put(path, b"", condition) is None for condition in conditions)
        storage.remove(probe)
        if not kept:
            raise ConfigError(
                f"{url}: this store ignores the conditions of a PUT (If-Match, If-None-Match): two writers would "
                "undo each other; set --verdicts to a file in a folder"
            )

    def read(self) -> bytes:
        """The object as it is, empty where there is none."""
        path = self._place.path
        try:
            # First the ETag: where the body is a later one already, the next change is refused and tried again.
            self._etag = str(self._place.fs.info(path)["ETag"])
            return bytes(self._place.fs.cat_file(path))
        except FileNotFoundError:
            self._etag = None
            return b""

    def replace(self, body: bytes) -> bool:
        """Put `body` in its place.

        Returns:
            False where somebody else has changed it since it was read; nothing is written then.

        Raises:
            OSError: The store did not take it.
        """
        condition = {"IfNoneMatch": "*"} if self._etag is None else {"IfMatch": self._etag}
        etag = self._put(self._place.path, body, condition)
        if etag is None:
            return False
        self._etag = etag
        return True

    def _put(self, path: str, body: bytes, condition: dict[str, str]) -> str | None:
        """The new ETag; None where the condition does not hold."""
        bucket, key, _ = self._place.fs.split_path(path)
        try:
            answer: dict[str, Any] = self._place.fs.call_s3(
                "put_object", Bucket=bucket, Key=key, Body=body, **condition
            )
        except OSError as error:
            said = getattr(error.__cause__, "response", {}).get("Error", {})
            if said.get("Code") in _REFUSED:
                return None
            raise
        return str(answer["ETag"])
