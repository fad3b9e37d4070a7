"""The review page: the queue with its pictures in one HTML file that needs no server and no network."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.images.reading import load_pictures
from radray.review.thumbnails import data_uri, encode_png

PAGE_FILE = "review.html"
PICTURE_PX = 320
NEIGHBOUR_PX = 72
_PACKAGE = jinja2.PackageLoader("radray.review", "pages")


def write_review_page(output: str, found: pa.Table, images_url: str, titles: dict[str, str], limit: int) -> int:
    """Write review.html; return how many findings it shows.

    Args:
        output: Folder that gets the page.
        found: The findings.
        images_url: The images table, for the pictures.
        titles: Region name → title, in class order.
        limit: Most findings of each issue.
    """
    items = queue_items(found, images_url, limit)
    storage.write_bytes(storage.join(output, PAGE_FILE), render_review_page(items, titles).encode())
    return len(items)


def queue_items(found: pa.Table, images_url: str, limit: int) -> list[dict[str, Any]]:
    """What the page knows of each finding, in rank order within each issue; findings without picture are left out."""
    rows = [row for row in found.to_pylist() if row["rank"] <= limit]
    for row in rows:
        row["evidence"] = json.loads(row["evidence"])
    relatives = {row["row_id"]: _relatives(row["evidence"]) for row in rows}
    wanted = {row["row_id"] for row in rows} | {one for near in relatives.values() for one in near}
    pictures = load_pictures(images_url, wanted)
    labels = _labels(images_url, [one for near in relatives.values() for one in near])
    return [
        {
            **{name: row[name] for name in ("uri", "issue", "rank", "label", "suggested", "confidence", "station")},
            "score": round(row["score"], 4),
            "top": row["evidence"].get("top", []),
            "note": _note(row["evidence"]),
            "picture": data_uri(encode_png(pictures[row["row_id"]], PICTURE_PX)),
            "neighbours": [
                {"label": labels.get(one), "picture": data_uri(encode_png(pictures[one], NEIGHBOUR_PX))}
                for one in relatives[row["row_id"]]
                if one in pictures
            ],
        }
        for row in rows
        if row["row_id"] in pictures
    ]


def render_review_page(items: list[dict[str, Any]], titles: dict[str, str]) -> str:
    """The page as HTML; header strings are data in it, never markup."""
    environment = jinja2.Environment(loader=_PACKAGE, autoescape=True)
    key = hashlib.blake2b("\n".join(item["uri"] for item in items).encode(), digest_size=8).hexdigest()
    return environment.get_template("review.html.j2").render(queue={"key": key, "titles": titles, "items": items})


def _relatives(evidence: dict[str, Any]) -> list[int]:
    near: list[int] = evidence.get("neighbours") or ([evidence["of"]] if "of" in evidence else [])
    return near


def _note(evidence: dict[str, Any]) -> str:
    if "of" not in evidence:
        return ""
    what = "same pixels as" if evidence["equal_pixels"] else f"{evidence['bits']} of 64 hash bits differ from"
    return f"{what} the image beside it" + (", of another patient" if evidence["across_patients"] else "")


def _labels(images_url: str, row_ids: list[int]) -> dict[int, str | None]:
    rows = storage.read_table(
        images_url, columns=["row_id", "label"], filter=pc.field("row_id").isin(sorted(set(row_ids)))
    )
    return dict(zip(rows["row_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
