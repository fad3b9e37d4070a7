"""The JSON that the API answers with."""

from pydantic import BaseModel, ConfigDict

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


class Problem(BaseModel):
    """An error (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    reason: str
    """From the closed list of `radray.errors.Reason`."""
    detail: str


class Health(BaseModel):
    """The service answers, with this bundle."""

    status: str
    bundle: str


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
