"""Stores that fail: what is tried again, what is waited for, and what ends a run with one line.

| what the store does | what follows |
|---|---|
| an error of the server, a reset, a slow or a short body | it is asked again after each of `PAUSES_S` |
| no answer at all, or the bucket is gone | it is asked every few seconds for `OUTAGE_S`; then ConfigError |
| the credentials are refused (expired, deleted) | ConfigError at once |

A ConfigError here says that the same command goes on: no row was written for what could not be read.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from radray import storage
from radray.errors import ConfigError

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts, in seconds, each shortened by up to half by chance so that workers do not ask in step."""
OUTAGE_S = 900.0
"""How long a store that does not answer is waited for, in seconds."""
_ASK_EVERY_S = 3.0
_TRIES = 4
"""How often work on a store that answers and yet fails is begun."""
_MOST_OUTAGES = 5
"""A call that fails after so many outages is not the outages' fault."""
_REFUSALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "NoCredentialsError",
    "CredentialRetrievalError",
    "UnauthorizedSSOTokenError",
)
"""Error codes of S3, and botocore's own errors, that say the same of every object."""
_ARROW_REFUSALS = (
    "EXPIRED_TOKEN",
    "INVALID_CLIENT_TOKEN_ID",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "REQUEST_TIME_TOO_SKEWED",
)
"""How pyarrow spells those it knows; the others it quotes ("ExceptionName: ExpiredToken")."""
_NAMED = re.compile(rf"\b(?:{'|'.join(_REFUSALS)}|AWS Error (?:{'|'.join(_ARROW_REFUSALS)}))\b")
_OF_STORE = re.compile(
    r"AWS Error|NoSuchBucket|NO_SUCH_BUCKET|EndpointConnectionError|Connect(?:ion|Timeout)|ReadTimeout|curlCode|"
    r"InternalError|SlowDown|ServiceUnavailable"
)
_MEND_NOTHING = (PermissionError, IsADirectoryError, NotADirectoryError)

Answer = TypeVar("Answer")


def ask_store(url: str, call: Callable[[], Answer], *, final: tuple[type[Exception], ...] = ()) -> Answer:
    """Call `call`, which reads from the store of `url`, as often as the table above says.

    Args:
        url: An object, a folder or a prefix in that store.
        call: What to do; it may be done more than once.
        final: Errors that another attempt does not mend.

    Raises:
        ConfigError: The store refuses the credentials, or does not answer for `OUTAGE_S`.
        Exception: What `call` raised, when the store answers and yet every attempt failed.
    """
    for _ in range(_MOST_OUTAGES):
        for number, pause_s in enumerate((*PAUSES_S, None)):
            try:
                return call()
            except ConfigError:
                raise
            except Exception as error:  # every store has errors of its own
                failure = error
            if refusal(failure) and number:  # not for one odd answer
                raise refused(url, failure) from failure
            if pause_s is None or is_bucket_gone(failure):
                break
            if not refusal(failure) and isinstance(failure, (FileNotFoundError, *_MEND_NOTHING, *final)):
                raise failure
            time.sleep(pause_s * random.uniform(0.5, 1.0))
        if not await_store(url) and not is_bucket_gone(failure):
            return call()  # it may have come back just now; if not, this object is the fault
    raise failure


def bear(url: str, work: Callable[[], Answer]) -> Answer:
    """Do what may be begun anew at any time, again where the store of `url` fails meanwhile.

    Raises:
        ConfigError: The store refuses the credentials, or is gone for too long.
        Exception: What `work` raised, when it is not of a store, or fails again and again.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except ConfigError:
            raise
        except Exception as error:
            if not is_of_store(error) or not url.startswith(("s3://", "s3a://")):
                raise
            if refusal(error):
                raise refused(url, error) from error
        await_store(url)
    return work()


def await_store(url: str) -> bool:
    """Return when the store of `url` answers: whether it had to be waited for.

    Raises:
        ConfigError: It has not for `OUTAGE_S`, or it refuses the credentials.
    """
    began = time.monotonic()
    if does_answer(url):
        return False
    while not does_answer(url):
        if time.monotonic() - began > OUTAGE_S:
            raise ConfigError(
                f"{_store(url)} has not answered for {OUTAGE_S:.0f} s; see that it runs and that its bucket is there, "
                "then give the same command again: what is done stays done"
            )
        time.sleep(_ASK_EVERY_S)
    return True


def does_answer(url: str) -> bool:
    """Whether the bucket of `url` is there and its store says anything that is no fault; True for all but S3.

    Raises:
        ConfigError: It refuses the credentials.
    """
    if not url.startswith(("s3://", "s3a://")):
        return True
    place = storage.locate(url, timeout_s=storage.CHECK_TIMEOUT_S)
    try:
        place.fs.call_s3("list_objects_v2", Bucket=place.path.split("/", 1)[0], MaxKeys=1)
    except Exception as error:
        if refusal(error):
            raise refused(url, error) from error
        return isinstance(error, PermissionError)  # it may be allowed to read, and not to list
    return True


def is_of_store(error: BaseException) -> bool:
    """Whether the error, also one that Ray hands on as text, comes from a store."""
    return any(isinstance(each, OSError) or _OF_STORE.search(str(each)) for each in _chain(error))


def is_bucket_gone(error: BaseException) -> bool:
    """Whether the store says that there is no such bucket."""
    return _code(error) == "NoSuchBucket"


def refusal(error: BaseException) -> str | None:
    """The code with which a store refuses the credentials, None for any other error."""
    code = _code(error)
    if code in _REFUSALS:
        return code
    for each in _chain(error):
        if type(each).__name__ in _REFUSALS:
            return type(each).__name__
        if found := _NAMED.search(str(each)):
            return found[0].removeprefix("AWS Error ")
    return None


def refused(url: str, error: BaseException) -> ConfigError:
    """One line for credentials that do not work any more."""
    return ConfigError(
        f"{_store(url)} refuses the credentials ({refusal(error)}); renew them (AWS_PROFILE, or AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN), then give the same command again: what is done stays done"
    )


def _store(url: str) -> str:
    place = storage.locate(url)
    where = f" at {storage.s3_endpoint()}" if url.startswith("s3") and storage.s3_endpoint() else ""
    return f"{place.url.split('://', 1)[0]}://{place.path.split('/', 1)[0]}: the store{where}"


def _code(error: BaseException) -> str | None:
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, also through Ray's."""
    while error is not None:
        yield error
        cause = getattr(error, "cause", None)
        error = cause if isinstance(cause, BaseException) else error.__cause__
