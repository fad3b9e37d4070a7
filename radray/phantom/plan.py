"""Who is in the archive: patients, studies, objects, their labels and paths, before a pixel is drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from radray.phantom import wording
from radray.phantom.config import PhantomConfig
from radray.phantom.hardware import CUES
from radray.regions import load_regions

OUT_OF_DOMAIN = ("ct_slice", "photo", "document", "mammogram", "ultrasound", "test_pattern")
"""What an out-of-domain object shows."""
BROKEN = ("truncated", "wrong_length", "no_pixels", "not_dicom", "unknown_transfer_syntax")
"""How an object is broken."""

Random = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One synthetic person."""

    number: int
    name: str
    """DICOM PN, SURNAME^FORENAME."""
    patient_id: str
    birth_date: str
    """YYYYMMDD."""
    sex: str
    """M or F."""
    part: str
    """train or test: where the spurious cue goes with the label, and where not."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One object of the archive to be."""

    number: int
    kind: str
    """radiograph, out_of_domain or broken."""
    detail: str
    """For out-of-domain and broken objects what they are, else ""."""
    region: str
    """True region; "" for out-of-domain objects."""
    header_label: str
    """Region the header names; "" if none."""
    label_state: str
    """ok, wrong, missing; "" for out-of-domain objects."""
    patient: Patient
    study: int
    """Number of the study in the archive."""
    instance: int
    """Number of the object in its study, from 1."""
    study_date: str
    """YYYYMMDD."""
    scanner: wording.Scanner
    cue: str
    """Spurious cue to draw, or ""."""
    path: str
    """Key below the archive prefix."""


def uid(seed: int, *parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on the seed and the parts alone."""
    text = ":".join(str(part) for part in (seed, *parts))
    return f"2.25.{int.from_bytes(hashlib.blake2b(text.encode(), digest_size=15).digest(), 'big')}"


def region_counts(config: PhantomConfig, radiographs: int) -> dict[str, int]:
    """Radiographs a region: a geometric fall from the most to the least frequent, none below the floor."""
    names = load_regions(config.regions).names
    # The regions beyond the first 14 are as frequent as the middle of the list.
    places = [i / 13 if i < 14 else 0.35 + 0.3 * (i - 14) / 8 for i in range(len(names))]
    weights = np.array([config.imbalance ** (-place) for place in places])
    floor = min(config.least_per_region, radiographs // (2 * len(names)))
    counts = np.floor(weights / weights.sum() * (radiographs - floor * len(names))).astype(int) + floor
    for i in range(radiographs - int(counts.sum())):
        counts[i % len(names)] += 1
    return dict(zip(names, (int(n) for n in counts), strict=True))


def _share(rng: Random, total: int, share: float) -> np.ndarray:
    return rng.permutation(total)[: round(total * share)]


def _people(config: PhantomConfig, rng: Random, count: int) -> list[Patient]:
    people = []
    tested = set(_share(rng, count, config.test_patients).tolist())
    for number in range(count):
        sex = "F" if rng.random() < 0.52 else "M"
        forename = str(rng.choice(wording.FORENAMES_F if sex == "F" else wording.FORENAMES_M))
        born = f"{int(rng.integers(1925, 2012))}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
        people.append(
            Patient(
                number=number, name=f"{rng.choice(wording.SURNAMES)}^{forename}",
                patient_id=f"{int(rng.integers(10_000_000, 99_999_999))}-{number}",
                birth_date=born, sex=sex, part="test" if number in tested else "train",
            )
        )  # fmt: skip
    return people


def _wrong_label(region: str, names: tuple[str, ...], rng: Random) -> str:
    likely = [name for name in wording.CONFUSIONS[region] if name in names]
    return str(rng.choice(likely)) if likely else str(rng.choice([name for name in names if name != region]))


def _path(
    patient: Patient, study_date: str, study: int, instance: int, scanner: wording.Scanner, style: int, number: int
) -> str:
    folder = f"ARCHIVE/{patient.name}_{patient.birth_date}/{study_date}_{scanner.modality}_{study:06d}"
    name = (f"IM{number:07d}.dcm", f"IM{number:07d}", f"I{instance:04d}_{number}.DCM", f"{scanner.station}.{number}")[
        style
    ]
    return f"{folder}/{name}"


def _mix(
    studies: list[list[tuple[str, str, str]]], share: float, rng: np.random.Generator
) -> list[list[tuple[str, str, str]]]:
    """Join studies two by two until `share` of those left are of two (a few of them of one region all the same)."""
    order = [studies[i] for i in rng.permutation(len(studies))]
    joined = min(len(studies) // 2, round(len(studies) * share / (1 + share)))
    return [order[2 * i] + order[2 * i + 1] for i in range(joined)] + order[2 * joined :]


def plan_archive(config: PhantomConfig) -> list[Planned]:
    """Every object of the archive in order; depends on the configuration's seed and shares only."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0,)))
    strange, spoilt = round(config.images * config.out_of_domain), round(config.images * config.broken)
    radiographs = config.images - strange - spoilt
    names = load_regions(config.regions).names

    studies: list[list[tuple[str, str, str]]] = []
    for region, count in region_counts(config, radiographs).items():
        while count > 0:
            size = min(count, int(rng.choice([1, 2, 3], p=[0.35, 0.5, 0.15])))
            studies.append([("radiograph", "", region)] * size)
            count -= size
    studies = _mix(studies, config.mixed_studies, rng)
    studies += [[("out_of_domain", OUT_OF_DOMAIN[i % len(OUT_OF_DOMAIN)], "")] for i in range(strange)]
    studies += [[("broken", BROKEN[i % len(BROKEN)], str(rng.choice(names)))] for i in range(spoilt)]
    studies = [studies[i] for i in rng.permutation(len(studies))]

    owners: list[int] = []
    while len(owners) < len(studies):
        owner = owners[-1] + 1 if owners else 0
        owners += [owner] * int(rng.choice([1, 2, 3, 5], p=[0.5, 0.28, 0.15, 0.07]))
    people = _people(config, rng, owners[-1] + 1)

    wrong = set(_share(rng, radiographs, config.label_noise).tolist())
    order = [i for i in rng.permutation(radiographs).tolist() if i not in wrong]
    missing = set(order[: round(radiographs * config.missing_labels)])
    cued = set(_share(rng, radiographs, config.spurious_cue).tolist())
    weights = np.array([scanner.weight for scanner in wording.SCANNERS])
    planned: list[Planned] = []
    radiograph = 0
    for study, (views, owner) in enumerate(zip(studies, owners, strict=False)):
        scanner = wording.SCANNERS[int(rng.choice(len(weights), p=weights / weights.sum()))]
        study_date = f"{int(rng.integers(2012, 2025))}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
        style = int(rng.choice(4, p=[0.5, 0.25, 0.15, 0.1]))
        for instance, (kind, detail, region) in enumerate(views, start=1):
            label, state, cue = region, "ok" if region else "", ""
            if kind == "radiograph":
                if radiograph in wrong:
                    label, state = _wrong_label(region, names, rng), "wrong"
                elif radiograph in missing:
                    label, state = "", "missing"
                if radiograph in cued:
                    told = names.index(region) if people[owner].part == "train" else int(rng.integers(len(names)))
                    cue = CUES[told % len(CUES)]
                radiograph += 1
            elif kind == "out_of_domain":
                label = str(rng.choice(names)) if rng.random() < 0.5 else ""
            number = len(planned)
            planned.append(
                Planned(
                    number=number, kind=kind, detail=detail, region=region, header_label=label, label_state=state,
                    patient=people[owner], study=study, instance=instance, study_date=study_date, scanner=scanner,
                    cue=cue, path=_path(people[owner], study_date, study, instance, scanner, style, number),
                )
            )  # fmt: skip
    return planned
