"""The model card of a bundle, in Markdown (Mitchell et al., arXiv 1810.03993)."""

from __future__ import annotations

from typing import Any

from radray.pretrain.efficientnet_lite import IMAGENET_DIGEST

_CARD = """# radray bundle: {regions_name}

**Not a medical device.** Its output must not be used for diagnosis or treatment without a qualified person's review.

## Intended use
Sorting radiographs of an archive by anatomical region ({count} classes), finding labels that are probably wrong, and
preparing a short list for a radiologist to confirm. Input: a cleaned radiograph, {side} × {side} pixels, bone bright.

Classes: {regions}.

## How it was made
radray {version}. Members: {members}. Each is a frozen backbone with a linear head fitted to the training split's
labels, or ("own head") the head it was trained with, whichever explained the validation labels better;
temperatures and weights were fitted on the validation split. Patients never stand on two sides of a split.

{data}

## Figures
{figures}

## Operating point
The bundle abstains where the out-of-domain score is above {ood:.3f} or the confidence too low: {confidence}.
{chosen} The out-of-domain score is the share of validation images that lie nearer to the training images.

## Limits
- The figures hold for the archive they were measured on. Radiographs of other hospitals, scanners and age groups can
  do worse; measure on your own before use.
- Labels of the archive are partly wrong; figures against labels count right answers to wrong labels as errors.
- Regions with few training images are recognised less well; see the figures by region beside this folder.
- Objects that are no radiograph still get a region; look at `abstained` and `ood_score`.
"""


def write_card(document: dict[str, Any]) -> str:
    """Markdown from a bundle's JSON document."""
    facts = document["facts"]
    return _CARD.format(
        regions_name=document["regions"]["name"],
        count=len(document["regions"]["regions"]),
        side=document["side_px"],
        regions=", ".join(f"{each['title']} ({each['snomed_code']})" for each in document["regions"]["regions"]),
        version=document["radray_version"],
        members=", ".join(
            f"{each['method']} ({each['backbone']}, weight {each['share']:.2f}{', own head' * each['own_head']})"
            for each in document["members"]
        ),
        data=_data(facts) + _origin(facts),
        figures=_figures(facts.get("metrics", {})),
        confidence=_thresholds(document),
        ood=document["ood_threshold"],
        chosen=_chosen(facts),
    )


def _thresholds(document: dict[str, Any]) -> str:
    """The threshold, or that of each region where they differ."""
    thresholds = document["confidence_thresholds"]
    if len(set(thresholds)) == 1:
        return f"below {thresholds[0]:.3f}"
    names = [region["name"] for region in document["regions"]["regions"]]
    return ", ".join(f"{name} below {value:.3f}" for name, value in zip(names, thresholds, strict=True))


def _chosen(facts: dict[str, Any]) -> str:
    if facts.get("risk") is not None:
        risk = f"{facts['risk']:.1%}"
        return f"That was chosen on validation images so that at most {risk} of the answers differ from the label."
    if facts.get("coverage") is not None:
        return f"That was chosen so that {facts['coverage']:.0%} of the validation images are answered."
    return "How that was chosen is not recorded."


def _data(facts: dict[str, Any]) -> str:
    counts = facts.get("images", {})
    if not counts:
        return "The images it was made from are not recorded."
    numbers = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"Labelled images: {numbers}. Data digest `{facts.get('data_digest', 'unknown')}`."


def _origin(facts: dict[str, Any]) -> str:
    """What networks began with, where it was no random weights; and how many labels calibration took for wrong."""
    began = {method: digest for method, digest in facts.get("began_with", {}).items() if digest}
    text = ""
    if began:
        text = " Networks that began with other weights: " + ", ".join(
            f"{method} (ImageNet's, Apache-2.0)" if digest == IMAGENET_DIGEST else f"{method} (`{digest}`)"
            for method, digest in began.items()
        )
        text += "."
    if facts.get("wrong_labels_assumed"):
        text += f" Calibration took {facts['wrong_labels_assumed']:.1%} of the labels for wrong."
    return text


def _figures(metrics: dict[str, dict[str, float]]) -> str:
    if not metrics:
        return "None recorded."
    names = sorted({name for values in metrics.values() for name in values})
    lines = ["Test split, all labels.", "", "| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method, values in metrics.items():
        cells = [f"{values[name]:.3f}" if name in values else "–" for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
