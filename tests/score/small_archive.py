"""A tiny archive and a tiny bundle, written to disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.pretrain.backbone import Backbone
from radray.regions import load_regions

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
COMPUTED_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.2"


def write_dicom(path: Path, number: int, part: str | None, sop_class: str = COMPUTED_RADIOGRAPHY) -> None:
    """A 12-bit image of a bright bar on a dark ground."""
    rng = np.random.default_rng(number)
    pixels = rng.normal(300, 40, (96, 80))
    pixels[10:86, 30 + number : 45 + number] += 2500
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = sop_class
    header.SOPClassUID = sop_class
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    header.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number)])
    header.Modality = "CR" if sop_class == COMPUTED_RADIOGRAPHY else "CT"
    header.PatientID = f"patient-{number}"
    header.PatientName = "Mustermann^Erika"
    if part:
        header.BodyPartExamined = part
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelData = np.clip(pixels, 0, 4095).astype("<u2").tobytes()
    header.save_as(path, enforce_file_format=True)


def write_bundle(url: str, seed: int = 0) -> Bundle:
    """A bundle of one member with random weights."""
    torch.manual_seed(seed)
    regions = load_regions("skeletal14")
    backbone = Backbone("resnet10", 32).eval()
    dimension = backbone.dimension
    member = Member(
        method="simclr",
        backbone=backbone,
        mean=torch.zeros(dimension),
        scale=torch.full((dimension,), 0.05),
        weight=torch.randn(len(regions), dimension) * 0.1,
        bias=torch.zeros(len(regions)),
        bank=torch.nn.functional.normalize(torch.randn(20, dimension), dim=1),
        distances=torch.linspace(0, 1, 20),
        temperature=1.0,
        own_head=False,
        share=1.0,
        run_digest="run",
    )
    bundle = Bundle(
        regions=regions,
        cleaning=CleaningConfig(side_px=32, working_px=64),
        members=[member],
        temperature=1.0,
        ood_reference=torch.linspace(0, 1, 20),
        confidence_thresholds=(0.1,) * len(regions),
        ood_threshold=1.0,
    )
    bundle.save(url)
    return bundle


def write_archive(folder: Path) -> Path:
    """Five radiographs, one CT slice, one text file, one truncated object."""
    (folder / "deep").mkdir(parents=True)
    for number, part in enumerate(["KNEE", "HAND", None, "SKULL", "KNEE"]):
        write_dicom(folder / "deep" / f"{number}.dcm", number, part)
    write_dicom(folder / "slice", 5, "CHEST", COMPUTED_TOMOGRAPHY)
    (folder / "notes.txt").write_text("no DICOM in here")
    write_dicom(folder / "short.dcm", 6, "KNEE")
    (folder / "short.dcm").write_bytes((folder / "short.dcm").read_bytes()[:3000])
    return folder
