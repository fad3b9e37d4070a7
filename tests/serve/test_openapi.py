"""Every operation of the OpenAPI answers as it declares, and never with a 5xx."""

from __future__ import annotations

from serve.relabels import Relabels
from tests.serve.local import LocalService
from tests.serve.openapi import STUDIES, check_operations

OPERATIONS = {
    "GET /healthz", "GET /readyz", "POST /v1/region", STUDIES, "GET /v1/regions", "GET /v1/model", "GET /v1/relabels",
    "POST /v1/relabels", "GET /v1/relabels/{name}", "DELETE /v1/relabels/{name}",
}  # fmt: skip
LIST = "GET /v1/relabels"


def test_answers_are_as_the_openapi_says(saved_bundle, keyed, radiographs, tmp_path):
    bundle, folder = saved_bundle
    # No random URL is allowed: only the list would ask the job server, and test_relabels.py has a real one.
    relabels = Relabels(bundle=folder, allowed=(str(tmp_path),), address="http://127.0.0.1:9")
    service = LocalService(bundle, folder, relabels, max_body_mib=1, api_keys=keyed[0])
    seen = check_operations(service, keyed[1], radiographs[0], examples=20, skipped=[LIST])
    assert set(seen) == OPERATIONS - {LIST}
    assert 202 in seen[STUDIES] and {403, 422} & seen["POST /v1/relabels"]
    assert seen["GET /v1/relabels/{name}"] <= {404, 422}


def test_answers_without_allowed_archives_are_as_the_openapi_says(saved_bundle, keyed, radiographs):
    service = LocalService(*saved_bundle, api_keys=keyed[0])
    others = [name for name in OPERATIONS if "relabels" not in name]
    seen = check_operations(service, keyed[1], radiographs[0], examples=5, skipped=others)
    assert set(seen) == OPERATIONS - set(others)
    assert seen[LIST] == {403}
