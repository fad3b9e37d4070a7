"""The review page: what the audit leaves for it, and the same queue as one HTML file that needs no server."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.errors import BundleError
from radray.review.pictures import Drawn, PictureReader, PictureWriter, draw_pictures
from radray.review.queue import CONTROL, choose_rows, describe_evidence, item_id, page_issue, pictured, relatives
from radray.review.thumbnails import data_uri

PAGE_FILE = "review.html"
FOLDER = "review"
ITEMS_FILE = "items.json"
OFFLINE_BYTES = 48 << 20
"""Pictures that the one-file page holds at most; the served page holds all."""
SCRIPTS = ("verdicts.js", "picture.js", "panel.js", "lists.js", "dialogs.js", "main.js")
_PACKAGE = jinja2.PackageLoader("radray.review", "pages")
_CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; "


def write_review_page(
    output: str,
    found: pa.Table,
    images_url: str,
    titles: dict[str, str],
    limit: int,
    *,
    bundle_url: str | None = None,
    seed: int = 0,
    labels_now: Mapping[int, str | None] | None = None,
) -> int:
    """Write `review/` (items and pictures, for the server) and review.html; return how many findings they show.

    Args:
        output: Folder that gets them.
        found: The findings, and controls where there are any.
        images_url: The images table, for the pictures.
        titles: Region name → title, in class order.
        limit: Most findings of each issue.
        bundle_url: The bundle whose strongest network is asked for heat maps; None for none.
        seed: Of the order in which controls are mixed in.
        labels_now: Row id → label, of images whose label verdicts have put right since the images table was written.
    """
    rows = choose_rows(found, limit, seed)
    writer = PictureWriter()
    near = [one for row in rows for one in relatives(row["evidence"])]
    asked = {row["row_id"]: [name for name in (row["suggested"], row["label"]) if name in titles] for row in rows}
    shown = [one for row in rows for one in pictured(row)]
    drawn = draw_pictures(writer, images_url, shown, near, asked, _load_bundle(bundle_url))
    labels = _labels(images_url, near) | dict(labels_now or {})
    items = [_item(row, drawn, labels) for row in rows if any(one in drawn.large for one in pictured(row))]
    uris = {item_id(row["row_id"]): row["uri"] for row in rows}
    # What waits in a browser belongs to these findings, whatever the next audit writes into them.
    place = hashlib.blake2b(storage.normalise_url(output).encode(), digest_size=8).hexdigest()
    # An opinion that is shown tells most controls from suspects; without controls nothing hangs on it.
    blind = any(row["issue"] == CONTROL for row in rows)
    queue = {"place": place, "titles": titles, "blind": blind, "items": items}
    folder = storage.join(output, FOLDER)
    writer.close(folder)
    storage.write_bytes(storage.join(folder, ITEMS_FILE), json.dumps(queue).encode())
    page = render_offline_page(queue, uris, PictureReader(folder))
    storage.write_bytes(storage.join(output, PAGE_FILE), page.encode())
    return len(items)


def _load_bundle(url: str | None) -> Any:
    if url is None:
        return None
    from radray.ensemble import Bundle

    try:
        return Bundle.load(url, device="cpu")
    except BundleError as error:
        # A page without heat maps is better than none; scoring has refused the bundle already where it matters.
        print(f"review page: no heat maps ({error})", file=sys.stderr)
        return None


def _item(row: dict[str, Any], drawn: Drawn, labels: dict[int, str | None]) -> dict[str, Any]:
    row_id, suggested, label = row["row_id"], row["suggested"], row["label"]
    shown = next(one for one in pictured(row) if one in drawn.large)
    return {
        "id": item_id(row_id),
        "issue": page_issue(row["issue"]),
        "label": label,
        "suggested": suggested,
        "station": row["station"],
        "top": row["evidence"].get("top", []),
        "note": describe_evidence(row),
        "picture": drawn.large[shown],
        "thumb": drawn.small[shown],
        "near": [
            [drawn.small[one], labels.get(one), item_id(one)]
            for one in relatives(row["evidence"])
            if one in drawn.small
        ],
        "heat": [drawn.heat.get((row_id, name or "")) for name in (suggested, label)],
    }


def _labels(images_url: str, row_ids: list[int]) -> dict[int, str | None]:
    rows = storage.read_table(
        images_url, columns=["row_id", "label"], filter=pc.field("row_id").isin(sorted(set(row_ids)))
    )
    return dict(zip(rows["row_id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def render_offline_page(queue: dict[str, Any], uris: dict[str, str], pictures: PictureReader) -> str:
    """The page as one HTML file; header strings are data in it, never markup.

    Args:
        queue: place, titles, blind, items.
        uris: Item → key of the image, for verdicts.csv.
        pictures: Those that the items name; items whose pictures are beyond `OFFLINE_BYTES` are left out.
    """
    inline: dict[int, str] = {}
    items, size = [], 0
    for item in queue["items"]:
        # The small picture is made of the large one; heat maps and neighbours come along.
        own = {item["picture"], *(near for near, *_ in item["near"]), *item["heat"]} - {None, *inline}
        bodies = {number: data_uri(pictures.read(number)) for number in own}
        size += sum(map(len, bodies.values()))
        if size > OFFLINE_BYTES:
            break
        inline |= bodies
        items.append(item | {"uri": uris[item["id"]], "thumb": item["picture"]})
    offline = queue | {"items": items, "pictures": inline, "left_out": len(queue["items"]) - len(items)}
    script, style = page_script(), page_part("review.css")
    policy = f"{_CLOSED}img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    return _render(policy=policy, queue=offline, script=script, style=style)


def render_served_page() -> str:
    """The page that asks its server for everything; there is nothing in it that needs a token."""
    return _render(policy="", queue=None, script="", style="")


def served_policy() -> str:
    """Its Content-Security-Policy: own files only, nothing inline."""
    own = "style-src 'self'; script-src 'self'; connect-src 'self'"
    return f"{_CLOSED}frame-ancestors 'none'; img-src blob: data:; {own}"


@lru_cache
def page_part(name: str) -> str:
    """A style sheet or script of the page."""
    return resources.files("radray.review").joinpath("pages", name).read_text()


@lru_cache
def page_script() -> str:
    """All scripts of the page, one behind the other."""
    return '"use strict";\n' + "\n".join(page_part(name) for name in SCRIPTS)


def _render(**given: Any) -> str:
    environment = jinja2.Environment(loader=_PACKAGE, autoescape=True)
    return environment.get_template("review.html.j2").render(**given)


def _digest(text: str) -> str:
    """A source expression of the Content-Security-Policy that allows just this text."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
