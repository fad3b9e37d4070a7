"""The OpenAPI held against what is answered, by schemathesis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import pytest

from tests.serve.local import LocalService, listening, multipart

STUDIES = "POST /v1/studies"


def check_operations(
    service: LocalService, headers: dict[str, str], good: bytes, *, examples: int, skipped: Collection[str] = ()
) -> dict[str, set[int]]:
    """Send random requests to every operation; which statuses each answered with.

    Every answer is as declared and none is a 5xx: both are checks of schemathesis.

    Args:
        service: Listens meanwhile.
        headers: Of every request.
        good: A readable radiograph; stands beside the random part of a multipart/related body.
        examples: Requests to each operation.
        skipped: Operations that are not asked, "METHOD /path".
    """
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (make setup)")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    @schemathesis.serializer("multipart/related")
    def send_as_parts(_, value) -> bytes:
        return multipart([value if isinstance(value, bytes) else str(value).encode(), good])[0]

    seen: dict[str, set[int]] = defaultdict(set)

    def check(operation, name: str) -> None:
        sent = headers | (multipart([])[1] if name == STUDIES else {})

        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate, Phase.explicit],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case) -> None:
            response = case.call(headers=sent)
            seen[name].add(response.status_code)
            # A random body of the right media type is no radiograph.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

        ask()

    with listening(service) as url:
        for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = result.ok()
            name = f"{operation.method.upper()} {operation.path}"
            if name not in skipped:
                check(operation, name)
    return seen
