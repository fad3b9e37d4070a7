"""Words of a synthetic hospital: people, scanners, and how headers name body regions in English and German."""

from __future__ import annotations

from typing import NamedTuple

SURNAMES = (
    "DOE", "SMITH", "MUELLER", "SCHMIDT", "SCHNEIDER", "FISCHER", "WEBER", "WAGNER", "BECKER", "HOFFMANN", "KOCH",
    "RICHTER", "KLEIN", "WOLF", "NEUMANN", "SCHWARZ", "ZIMMERMANN", "BRAUN", "KRUEGER", "HARTMANN", "LANGE", "WERNER",
    "JONES", "BROWN", "TAYLOR", "WILSON", "EVANS", "YILMAZ", "KAYA", "NOWAK", "ROSSI", "HUBER", "GRUBER", "BAUER",
)  # fmt: skip
FORENAMES_F = (
    "ANNA",
    "MARIA",
    "JANE",
    "URSULA",
    "SABINE",
    "INGRID",
    "EMMA",
    "LENA",
    "AYSE",
    "GISELA",
    "PETRA",
    "JULIA",
)
FORENAMES_M = ("JOHN", "PETER", "HANS", "THOMAS", "KARL", "WERNER", "PAUL", "LUKAS", "MEHMET", "GEORG", "DAVID", "JAN")
PHYSICIANS = ("HAUSARZT^EVA^^DR.", "SCHULZ^MARTIN^^DR.", "HOUSE^GREGORY^^DR.", "ADLER^RUTH^^PROF.", "VOGEL^TIM")


class Scanner(NamedTuple):
    """One X-ray device and its habits."""

    manufacturer: str
    model: str
    station: str
    modality: str
    german: bool
    header: str
    """Where it names the region: part (BodyPartExamined), description, both, or code (part and SNOMED)."""
    weight: float


SCANNERS = (
    Scanner("SIEMENS", "Ysio Max", "ROE1", "DX", True, "both", 5),
    Scanner("Philips Medical Systems", "DigitalDiagnost", "ROE2", "DX", True, "description", 4),
    Scanner("FUJIFILM Corporation", "FCR PROFECT CS", "CHIRAMB", "CR", True, "part", 3),
    Scanner("Agfa", "DX-G", "AGFA01", "CR", False, "part", 3),
    Scanner("Canon Inc.", "CXDI-701C", "ER_XRAY", "DX", False, "both", 3),
    Scanner("GE MEDICAL SYSTEMS", "Optima XR646", "GEXR646", "DX", False, "code", 3),
    Scanner("Carestream Health", "DRX-1", "MOBIL3", "DX", False, "description", 1.5),
    Scanner("KODAK", "CR 975", "PRAXIS", "CR", True, "both", 1.5),
)

GERMAN: dict[str, tuple[str, ...]] = {
    "knee": ("Knie", "Kniegelenk", "Knie in 2 Ebenen", "Kniegelenk seitl.", "Rö Knie a.p."),
    "shoulder": ("Schulter", "Schultergelenk", "Schulter a.p.", "Schulter 2 Ebenen", "Rö Schulter axial"),
    "ankle": ("OSG", "OSG a.p.", "Sprunggelenk", "OSG 2 Ebenen", "Oberes Sprunggelenk seitl."),
    "elbow": ("Ellenbogen", "Ellenbogengelenk", "Ellbogen seitl.", "Ellenbogen 2 Ebenen"),
    "foot": ("Fuß", "Fuss d.p.", "Vorfuß", "Fuß in 3 Ebenen", "Mittelfuß schräg"),
    "wrist": ("Handgelenk", "Handgelenk d.p.", "Handgelenk 2 Ebenen", "HG seitl. Handgelenk"),
    "hand": ("Hand", "Hand d.p.", "Hand 2 Ebenen", "Rö Hand schräg"),
    "cervical_spine": ("HWS", "HWS seitl.", "HWS 2 Ebenen", "Halswirbelsäule a.p.", "Rö HWS"),
    "clavicle": ("Clavicula", "Klavikula a.p.", "Schlüsselbein", "Clavicula 2 Ebenen"),
    "thoracic_spine": ("BWS", "BWS a.p.", "BWS in 2 Ebenen", "Brustwirbelsäule seitl."),
    "lumbar_spine": ("LWS", "LWS seitl.", "LWS 2 Ebenen", "Lendenwirbelsäule a.p."),
    "skull": ("Schädel", "Schädel a.p.", "Schaedel 2 Ebenen", "Schädel seitl."),
    "ribs": ("Rippen", "Rippen schräg", "Hemithorax Rippen", "Rippen 2 Ebenen"),
    "scapula": ("Scapula", "Skapula", "Schulterblatt", "Schulterblatt Y"),
    "pelvis": ("Becken", "Becken a.p.", "Beckenübersicht", "BÜ Becken"),
    "hip": ("Hüfte", "Hüftgelenk a.p.", "Hüfte axial", "Huefte 2 Ebenen"),
    "femur": ("Oberschenkel", "Femur a.p.", "Oberschenkel 2 Ebenen"),
    "lower_leg": ("Unterschenkel", "Unterschenkel a.p.", "Unterschenkel 2 Ebenen"),
    "humerus": ("Oberarm", "Humerus", "Oberarm 2 Ebenen"),
    "forearm": ("Unterarm", "Unterarm a.p.", "Unterarm 2 Ebenen"),
    "chest": ("Thorax", "Thorax p.a.", "Thorax 2 Ebenen"),
    "abdomen": ("Abdomen", "Abdomenübersicht", "Abdomen Linksseitenlage"),
}
ENGLISH: dict[str, tuple[str, ...]] = {
    "knee": ("Knee AP", "XR Knee", "Knee 2 views", "KNEE LAT"),
    "shoulder": ("Shoulder AP", "XR Shoulder", "Shoulder axial"),
    "ankle": ("Ankle AP", "XR Ankle", "Ankle mortise", "ANKLE LAT"),
    "elbow": ("Elbow AP", "XR Elbow 2 views", "ELBOW LAT"),
    "foot": ("Foot DP", "XR Foot", "FOOT OBL", "Foot 3 views"),
    "wrist": ("Wrist PA", "XR Wrist", "WRIST LAT", "Wrist 2 views"),
    "hand": ("Hand PA", "XR Hand", "Hand oblique", "HAND 3 VIEWS"),
    "cervical_spine": ("C-Spine", "Cervical Spine LAT", "XR Cervical spine", "CSPINE AP"),
    "clavicle": ("Clavicle", "XR Clavicle AP", "CLAVICLE"),
    "thoracic_spine": ("T-Spine", "Thoracic Spine AP", "XR Thoracic spine", "TSPINE LAT"),
    "lumbar_spine": ("L-Spine", "Lumbar Spine LAT", "XR Lumbar spine", "LSPINE AP"),
    "skull": ("Skull AP", "XR Skull", "SKULL LAT"),
    "ribs": ("Ribs", "XR Ribs", "RIBS OBL"),
    "scapula": ("Scapula", "XR Scapula", "SCAPULA Y"),
    "pelvis": ("Pelvis AP", "XR Pelvis"),
    "hip": ("Hip AP", "XR Hip", "HIP AXIAL"),
    "femur": ("Femur AP", "XR Femur"),
    "lower_leg": ("Tibia Fibula", "XR Lower leg", "Tib/Fib"),
    "humerus": ("Humerus AP", "XR Humerus"),
    "forearm": ("Forearm AP", "XR Forearm"),
    "chest": ("Chest PA", "XR Chest"),
    "abdomen": ("Abdomen AP", "XR Abdomen"),
}
SILENT_GERMAN = ("Röntgen", "2 Ebenen", "Nativröntgen", "Konsil Unfallchirurgie", "")
"""Descriptions that name no region."""
SILENT_ENGLISH = ("X-RAY", "XR 2 views", "Trauma series", "Follow up", "")

CONFUSIONS: dict[str, tuple[str, ...]] = {
    "knee": ("lower_leg", "femur", "ankle", "elbow"),
    "shoulder": ("clavicle", "scapula", "humerus"),
    "ankle": ("foot", "foot", "lower_leg"),
    "elbow": ("forearm", "humerus", "wrist"),
    "foot": ("ankle",),
    "wrist": ("hand", "hand", "forearm"),
    "hand": ("wrist",),
    "cervical_spine": ("thoracic_spine", "skull"),
    "clavicle": ("shoulder", "shoulder", "scapula"),
    "thoracic_spine": ("lumbar_spine", "cervical_spine", "ribs"),
    "lumbar_spine": ("thoracic_spine", "thoracic_spine", "pelvis"),
    "skull": ("cervical_spine",),
    "ribs": ("thoracic_spine", "chest"),
    "scapula": ("shoulder", "shoulder", "clavicle"),
    "pelvis": ("hip", "lumbar_spine"),
    "hip": ("pelvis", "femur"),
    "femur": ("hip", "knee"),
    "lower_leg": ("knee", "ankle"),
    "humerus": ("shoulder", "elbow"),
    "forearm": ("wrist", "elbow"),
    "chest": ("ribs", "thoracic_spine"),
    "abdomen": ("pelvis", "lumbar_spine"),
}
"""Region -> regions it is likely to be filed as (repeated where likelier)."""
