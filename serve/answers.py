"""The JSON that the API answers with."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from radray.ensemble import Bundle, Predictions
from radray.regions import RegionSet

TOP_REGIONS = 5


class Guess(BaseModel):
    """One region and how probable it is."""

    region: str
    title: str
    code: str
    probability: float


class MemberView(BaseModel):
    """What one member of the ensemble says by itself."""

    region: str
    confidence: float


class EnsembleAnswer(BaseModel):
    """What the bundle says about one cleaned image."""

    region: str
    code: str
    confidence: float
    abstained: bool
    ood_score: float
    turned_deg: int
    """Degrees counter-clockwise by which the image was found to be turned: 0, 90, 180 or 270."""
    inverted_probability: float
    """How probable it is, from the image as it came, that its grey values are inverted against its header."""
    top: list[Guess]
    probabilities: dict[str, float]
    members: dict[str, MemberView]
    bundle: str


class RegionAnswer(EnsembleAnswer):
    """The answer to `POST /v1/region`. Not a medical device."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "region": "knee",
                    "code": "72696002",
                    "confidence": 0.97,
                    "abstained": False,
                    "ood_score": 0.12,
                    "turned_deg": 0,
                    "inverted_probability": 0.001,
                    "top": [{"region": "knee", "title": "knee", "code": "72696002", "probability": 0.97}],
                    "probabilities": {"knee": 0.97, "ankle": 0.03},
                    "members": {"simclr": {"region": "knee", "confidence": 0.94}},
                    "bundle": "3f5c0d…",
                    "inverted": False,
                    "header_label": "knee",
                    "agrees": True,
                }
            ]
        }
    )

    inverted: bool
    """Whether the grey values were found to be inverted; the answer is that to the image put right."""
    header_label: str | None
    """Region that the object's header names; null where it names none."""
    agrees: bool | None
    """Whether header and bundle name the same region; null without header label."""
    picture: str | None = None
    """With `?pictures=true` the cleaned image as a PNG data URI."""
    heat_map: str | None = None
    """With `?pictures=true` where the reasons for the region lie, as a PNG data URI; null where no member can say."""


class RegionClass(BaseModel):
    """A region that the bundle tells apart."""

    region: str
    title: str
    code: str
    paired: bool


class ModelCard(BaseModel):
    """The bundle that answers."""

    bundle: str
    radray: str
    regions: list[str]
    members: list[dict[str, Any]]
    side_px: int
    ood_threshold: float
    confidence_thresholds: dict[str, float]
    facts: dict[str, Any]
    card: str
    """Markdown."""


class Health(BaseModel):
    """The service answers, with this bundle."""

    status: str
    bundle: str


class RelabelRequest(BaseModel):
    """An archive to be relabelled. URLs must lie under the service's allow-list (RADRAY_ALLOWED_URLS)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"archive": "s3://pacs-export/2024", "output": "s3://radray/predictions/2024"}]
        },
    )

    archive: str = Field(min_length=1, max_length=1024)
    """URL of the archive: a folder or s3://bucket/prefix; it is only read."""
    output: str = Field(min_length=1, max_length=1024)
    """URL of the folder that gets the predictions."""
    labels: str = Field(default="header", max_length=1024, pattern="^(header|table:.+)$")
    """What predictions are compared with: `header`, or `table:URL`."""
    key: Literal["uri", "hash"] = "uri"
    """What predictions call an object: its URL, or a keyed hash of it."""
    max_workers: int | None = Field(default=None, ge=1, le=1024)
    """Most workers; null for half the cluster's logical CPUs."""


class Relabel(BaseModel):
    """A relabelling job: as it is, or as it ended."""

    id: str
    status: Literal["pending", "running", "stopped", "succeeded", "failed"]
    archive: str
    output: str
    asked_by: str
    started: float | None
    """Seconds since 1970."""
    ended: float | None
    rows_done: int | None
    """Objects with a row so far; null before the first."""
    rows_total: int | None
    rows_per_s: float | None
    eta_s: float | None
    summary: dict[str, Any] | None
    """Counts, once it has succeeded."""
    message: str | None
    """Why it failed, in one line."""


def ensemble_answers(predictions: Predictions, bundle: Bundle) -> list[EnsembleAnswer]:
    """One answer an image."""
    return [_answer(predictions, row, bundle) for row in range(len(predictions))]


def _answer(predictions: Predictions, row: int, bundle: Bundle) -> EnsembleAnswer:
    regions: RegionSet = bundle.regions
    probabilities = [float(value) for value in predictions.probabilities[row]]
    order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
    best = regions.regions[int(predictions.region[row])]
    members = {}
    for method, own in predictions.member_probabilities.items():
        index = int(own[row].argmax())
        members[method] = MemberView(region=regions.names[index], confidence=float(own[row, index]))
    return EnsembleAnswer(
        region=best.name,
        code=best.snomed_code,
        confidence=float(predictions.confidence[row]),
        abstained=bool(predictions.abstained[row]),
        ood_score=float(predictions.ood_score[row]),
        turned_deg=90 * int(predictions.turned[row]),
        inverted_probability=float(predictions.inverted[row]),
        top=[
            Guess(
                region=regions.names[index],
                title=regions.regions[index].title,
                code=regions.regions[index].snomed_code,
                probability=probabilities[index],
            )
            for index in order[:TOP_REGIONS]
        ],
        probabilities=dict(zip(regions.names, probabilities, strict=True)),
        members=members,
        bundle=bundle.digest,
    )
