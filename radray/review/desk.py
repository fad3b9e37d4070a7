"""What the review knows and who may see what of it: items, verdicts, conflicts, agreement, accuracy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from radray import storage
from radray.errors import ConfigError
from radray.review.agreement import measure_agreement
from radray.review.checks import FINDINGS_FILE, LabelChecks
from radray.review.merging import number_lines
from radray.review.page import FOLDER, ITEMS_FILE
from radray.review.pictures import PictureReader
from radray.review.queue import LABEL_CHECK, SUSPECT, item_id
from radray.review.reviewers import Reviewers, check_name
from radray.review.verdict_file import VerdictFile
from radray.review.verdicts import Ruling, Verdict, now, standing_verdicts

ITEM_PREFIX = "item:"
"""Stands before an item's id where a page that knows no URLs exports what was refused."""
LARGEST_PAGE = 5000
"""Most findings of an issue that an audit's --review-limit allows."""
_LONGEST_COMMENT = 500
_ID_DIGITS = 32


class ReviewDesk:
    """One queue under review; the server and the Serve application ask it."""

    def __init__(self, findings: str, file: VerdictFile, reviewers: Reviewers) -> None:
        """Load the queue.

        Args:
            findings: URL of the audit's output.
            file: The verdicts; nobody else writes them.
            reviewers: Who may.
        """
        folder = storage.join(findings, FOLDER)
        queue = storage.read_json(storage.join(folder, ITEMS_FILE))
        self.file, self.reviewers = file, reviewers
        self.pictures = PictureReader(folder)
        self._items: dict[str, dict[str, Any]] = {}
        for item in queue["items"]:
            self._items.setdefault(item["id"], item)
        self._titles: dict[str, str] = queue["titles"]
        self._queue_json = json.dumps(queue, separators=(",", ":"))
        self._label_checks = [item["id"] for item in queue["items"] if item["issue"] == LABEL_CHECK]
        self._checks = LabelChecks.load(findings)
        columns = ["row_id", "uri", "label", "suggested"]
        found = storage.read_table(storage.join(findings, FINDINGS_FILE), columns=columns)
        rows = zip(*(found[name].to_pylist() for name in columns), strict=True)
        self._known = {item_id(row_id): (uri, label or suggested) for row_id, uri, label, suggested in rows}
        self._ids = {uri: one for one, (uri, _) in self._known.items() if one in self._items}

    def queue(self, reviewer: str | None) -> bytes:
        """JSON of key, titles, items, the reviewer's name (null where the page has to ask) and notes."""
        notes = list(self.file.notes)
        if self._checks is not None and (hidden := self._suspects_not_shown()):
            notes.append(
                f"{hidden:,} more suspected labels than this page shows: without them the accuracy after review stays "
                "an interval"
                + (
                    f"; an audit with --review-limit {self._checks.suspected} shows them"
                    if self._checks.suspected <= LARGEST_PAGE
                    else ", and a page cannot show so many"
                )
            )
        about = json.dumps({"reviewer": reviewer, "notes": notes})
        return (self._queue_json[:-1] + "," + about[1:]).encode()

    def verdicts(self, reviewer: str) -> dict[str, Any]:
        """The reviewer's own lines, oldest first, and what others say of the images they have judged themselves.

        Nobody sees another's opinion before having one.
        """
        own = [self._shown(verdict) for verdict in self.file.verdicts if verdict.reviewer == reviewer]
        standing = standing_verdicts(self.file.verdicts)
        judged = {uri for uri, name in standing if name == reviewer}
        others = [self._shown(each) for (uri, name), each in standing.items() if name != reviewer and uri in judged]
        return {"own": [each for each in own if each["item"]], "others": [each for each in others if each["item"]]}

    def give(self, reviewer: str, given: dict[str, Any]) -> dict[str, Any]:
        """Take one verdict, on any image of the findings; return what others say of it.

        The page may be older than the findings: what it showed as label or suggestion is what was confirmed.

        Args:
            reviewer: Who gives it.
            given: item, verdict, region (for confirm and correct), comment, blind and the id of the key press.

        Raises:
            ConfigError: It names no image of the findings, no known region, or has no id.
        """
        uri, labelled = self._known.get(str(given.get("item")), (None, None))
        if uri is None:
            raise ConfigError("the image is not among these findings")
        number = str(given.get("id") or "")
        if len(number) != _ID_DIGITS or set(number) - set("0123456789abcdef"):
            raise ConfigError(f"a verdict has an id of {_ID_DIGITS} hex digits")
        kind, region = str(given.get("verdict") or ""), ""
        if kind in (Ruling.CONFIRM, Ruling.CORRECT):
            region = str(given.get("region") or (labelled if kind == Ruling.CONFIRM else "") or "")
            if region not in self._titles and not (kind == Ruling.CONFIRM and region == labelled):
                raise ConfigError(f"region {region[:80]!r} is unknown")
        verdict = Verdict(
            uri=uri,
            reviewer=reviewer,
            verdict=kind,
            region=region,
            time=now(),
            comment=str(given.get("comment") or "")[:_LONGEST_COMMENT],
            blind="yes" if given.get("blind") else "",
            id=number,
        )
        self.file.append(verdict)
        standing = standing_verdicts(each for each in self.file.verdicts if each.uri == uri)
        if (uri, reviewer) not in standing:
            return {"others": []}
        return {"others": [self._shown(each) for (_, name), each in standing.items() if name != reviewer]}

    def merge(self, verdicts: Iterable[Verdict]) -> tuple[int, int]:
        """Take in the lines of another file; return how many were new, and how many name no image of the findings."""
        lines, unknown = [], 0
        for verdict in number_lines(verdicts):
            if verdict.uri.startswith(ITEM_PREFIX):
                uri, _ = self._known.get(verdict.uri.removeprefix(ITEM_PREFIX), (None, None))
                if uri is None:
                    unknown += 1
                    continue
                verdict = replace(verdict, uri=uri)
            lines.append(verdict)
        return self.file.merge(lines), unknown

    def agreement(self) -> dict[str, Any]:
        """See `measure_agreement`."""
        return measure_agreement(self.file.verdicts)

    def accuracy(self, reviewer: str | None = None) -> dict[str, Any] | None:
        """See `accuracy_after_review`, with `suspects_not_shown`; None for an audit without controls.

        Args:
            reviewer: Who asks. As long as label checks wait for them, they learn only how many (`open`): any figure
                that moves with a verdict tells a suspect from a control, and may sway the next. None gets all.
        """
        if self._checks is None:
            return None
        if reviewer is not None and (waiting := set(self._label_checks) - self._judged(reviewer)):
            return {"open": len(waiting)}
        return self._checks.accuracy(self.file.verdicts) | {"suspects_not_shown": self._suspects_not_shown()}

    def _suspects_not_shown(self) -> int:
        """Suspects without a verdict that the page does not hold: it has a limit."""
        if self._checks is None or self._checks.verdicts_seen:
            return 0
        seen = {uri for uri, _ in standing_verdicts(self.file.verdicts)}
        suspects = (row["uri"] for row in self._checks.found if row["issue"] == SUSPECT)
        return self._checks.suspected - sum(uri in self._ids or uri in seen for uri in suspects)

    def _judged(self, reviewer: str) -> set[str]:
        return {
            self._ids[uri]
            for uri, name in standing_verdicts(self.file.verdicts)
            if name == reviewer and uri in self._ids
        }

    def summary(self) -> dict[str, Any]:
        """Counts of the standing verdicts, agreement and accuracy."""
        standing = standing_verdicts(self.file.verdicts).values()
        by_verdict: dict[str, int] = {}
        by_reviewer: dict[str, int] = {}
        for verdict in standing:
            by_verdict[verdict.verdict] = by_verdict.get(verdict.verdict, 0) + 1
            by_reviewer[verdict.reviewer] = by_reviewer.get(verdict.reviewer, 0) + 1
        return {
            "rows_in": len(self._items),
            "rows_out": len(standing),
            "by_verdict": by_verdict,
            "by_reviewer": by_reviewer,
            "agreement": self.agreement(),
            "accuracy": self.accuracy(),
            "verdicts": self.file.url,
        }

    def name_reviewer(self, known: str | None, typed: str) -> str:
        """Who is speaking: by the token, else as typed.

        Raises:
            ConfigError: Nobody.
        """
        return known if known is not None else check_name(typed)

    def _shown(self, verdict: Verdict) -> dict[str, Any]:
        """A verdict as the page knows it: without the image's path."""
        row = asdict(verdict)
        return {"item": self._ids.get(row.pop("uri"))} | row
