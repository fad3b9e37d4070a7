"""The review page under /review of the Serve application: one replica, because one process writes the verdicts."""

from collections.abc import Mapping

import httpx
from ray import serve

from radray.review.desk import ReviewDesk
from radray.review.reviewers import Reviewers, read_reviewers
from radray.review.server import review_app
from radray.review.verdict_file import VerdictFile
from serve.settings import Settings

PASSED_ON = ("content-type", "x-radray-token", "x-radray-reviewer")
"""Headers of a request that the review needs."""
LONGEST_HANDOVER_S = 60
Answer = tuple[int, dict[str, str], bytes]


@serve.deployment
class Review:
    """Holds the queue and the verdicts file, and answers as `jobs/review.py` does."""

    def __init__(self, settings: Settings) -> None:
        config = settings.review
        reviewers = Reviewers(read_reviewers(config.reviewers_url))
        # At an update the replica before this one may still be writing.
        file = VerdictFile(config.verdicts_url, patience_s=LONGEST_HANDOVER_S)
        desk = ReviewDesk(config.findings, file, reviewers)
        # The ingress is reached by whatever name its reverse proxy has; every request for data needs a token.
        transport = httpx.ASGITransport(review_app(desk, hosts=None))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://review")

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Status, headers and body of one answer."""
        given = {name: value for name, value in headers.items() if name in PASSED_ON}
        answer = await self.client.request(method, "/" + path, headers=given, content=body)
        return answer.status_code, dict(answer.headers), answer.content
