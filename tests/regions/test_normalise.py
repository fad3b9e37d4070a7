"""Header strings of many kinds and the region that each names."""

from __future__ import annotations

import pytest

from radray.regions import body_parts, load_regions

TABLE = {
    "knee": """
        Knie | KNIE | Knie li. ap | Knie re 2 Ebenen | Kniegelenk beidseits | KNEE | KNEE_LT | XR KNEE 3V LT |
        knee joint, left | Knees bilateral standing | Patella axial | Patella Défilé | Kniescheibe | RTKNEE KNEE |
        Knie TEP li | Tibiakopf | Knie seitl. rechts | Roentgen Knie | Röntgen-Kniegelenk | RÖNTGENKNIE |
        LeftKnee | Knee AP/LAT | Tunnel view | Genu re.""",
    "shoulder": """
        Schulter | Schulter ap | SCHULTER AXIAL | Schultergelenk li. | Schultergürtel | SHOULDER |
        Shoulder Y view | AC-Gelenk | ACG beidseits | AC Joint bilateral | Schultereckgelenk re | Humeruskopf |
        Left shoulder, 2 views | acromioclavicular joints | SCHULTER^AP | épaule""",
    "ankle": """
        OSG | OSG re. 2 Eb. | Sprunggelenk | oberes Sprunggelenk seitl. | ANKLE | ANKLE MORTISE | RT ANKLE |
        Knöchel | Knoechel links | Kn?chel | Fußgelenk | Ankle Joint LAT | Innenknöchel | Ankles WB""",
    "elbow": """
        Ellenbogen | ELLBOGEN LI | Ellenbogengelenk ap | ELBOW | Elbow 3 views | Radiusköpfchen |
        Radiuskoepfchen re | Olecranon | L ELBOW LAT""",
    "foot": """
        Fuss | Fuß | FUSS RE DP | Füße | Fuesse bds. | Fü?e | Fu? | FOOT | Feet weight-bearing | Vorfuß li |
        Mittelfuss | Kalkaneus axial | Calcaneus | Fersenbein | Großzehe | Grosszehe re. 2 Ebenen | Zehe 2 |
        Zehen | great toe | TOES | heel | Os calcaneus | MFK V | Fuß dp/obl""",
    "wrist": """
        Handgelenk | HANDGELENK RE | Hand-Gelenk | Handgelenke bds. | WRIST | Wrist PA/LAT/OBL | Skaphoid |
        scaphoid series | carpal tunnel view | Handwurzel | distaler Radius | Stecher |
        Handgelenk 2 Ebenen links""",
    "hand": """
        Hand | HAND | HAND_R | XRAY RIGHT HAND | Hände | Haende bds | HÃ¤nde | Finger 3 | FINGERS |
        Digitus Finger II re | Daumen | thumb | Mittelhand | Hand d.p. | Hand schräg | Hands PA | Metacarpals |
        Zeigefinger""",
    "cervical_spine": """
        HWS | HWS seitl. | HWS 2 Ebenen | H W S | HWS_AP | C-Spine | CSPINE | C SPINE AP | Cervical LAT |
        Cervical OBLI 1 | XR C Spine Comp Min 4 Views | Halswirbelsäule | Halswirbelsaeule a.p. |
        HALSWIRBELSAULE | Dens | Dens Zielaufnahme | HWS Funktion | cervical vertebrae | SPINE CERVICAL | CSpine""",
    "clavicle": """
        Klavikula | Clavicula re. | CLAVICLE | Klavikel | Schlüsselbein | Schluesselbein links | SCHL?SSELBEIN |
        collar bone | Clavicles""",
    "thoracic_spine": """
        BWS | BWS seitl | BWS 2 Eb | T-Spine | TSPINE | Thoracic Spine LAT | Brustwirbelsäule |
        BRUSTWIRBELSAEULE | Th-Spine | dorsal spine | BWS stehend""",
    "lumbar_spine": """
        LWS | LWS a.p./seitl. | L-SPINE | LSPINE | LSSPINE | lumbar spine 2-3 views | Lendenwirbelsäule |
        L-S Spine | LWS L5/S1 | Lumbosacral | LWS im Stehen | Wirbelsäule LWS | SPINE, LUMBAR | Lumbar""",
    "skull": """
        Schädel | SCHAEDEL 2 EB | Schadel | SKULL | Skull PA & Lateral | NNH | Nasennebenhöhlen | Nasenbein |
        orbits | paranasal sinuses | Jochbogen | Facial bones | Kopf Schädel | Schädel seitlich""",
    "ribs": """
        Rippen | Rippen li. | RIB | RIBS UNILAT | Hemithorax re | knöcherner Thorax | knoecherner Hemithorax |
        Rippenthorax | rib cage""",
    "scapula": """
        Skapula | Scapula Y | SCAPULA | Schulterblatt re. | shoulder blade | Scapula tangential""",
    "pelvis": """
        Becken | BECKEN AP | Beckenübersicht | Beckenuebersicht tief | PELVIS | BÜS | BACINO | Pelvis 1 View |
        Symphyse | BACINO ANCHE""",
    "hip": """
        Hüfte | Huefte re | H?fte | Hüftgelenk axial | HIP | HIP JOINT | Hips | Schenkelhals | Lauenstein |
        HÜFTE LI 2 EB | proximales Femur""",
    "femur": """
        Oberschenkel | OBERSCHENKEL RE | FEMUR | THIGH | Femurschaft | Femur ap/lat""",
    "lower_leg": """
        Unterschenkel | UNTERSCHENKEL LI | LOWERLEG | [LOWER LEG         ] | Tib/Fib | Tibia | TIBIAFIBULA |
        Non-ossifying fibroma of distal tibia""",
    "humerus": """
        Oberarm | HUMERUS | Upper arm | Oberarm re 2 Ebenen""",
    "forearm": """
        Unterarm | FOREARM | Unterarm mit 2 Ebenen | RADIUSULNA | Radius/Ulna | forearm AP""",
    "chest": """
        Thorax | THORAX PA | CHEST | Chest PA PA | CHEST PORTABLE | Thorax in 2 Ebenen | Lunge | Thorax liegend |
        TORACE | Röntgenthorax""",
    "abdomen": """
        Abdomen | ABDOMEN LSL | KUB | Abdomenübersicht | Abdomen im Stehen""",
}

NOTHING = """
    hand/wrist | Hand und Handgelenk | HWS/BWS | BWS/LWS | BWS+LWS 2 Ebenen | Knie und OSG | Schulter, Klavikula |
    Wirbelsäule | SPINE | Extremität | EXTREMITY | LEG | ARM | Ganzbein | Beinachse | Skoliose | WHOLE BODY |
    e+1 | xxx xxxxxxx xxxxxx | Lorem Ipsum | 2 Ebenen | a.p. | seitl. | links | ISG | Sacrum | Steißbein |
    Kahnbein | Mammographie | MAMMOSCREENING 1E LEZING | BREAST | OPG | Sternum | Hals | NECK | Herz | Röntgen |
    12345 | ??? | Becken und Hüfte | Thorax + Abdomen | Unterarm mit Handgelenk | Testing File-set |
    PREMIUM_VIEW | OTHERS | Routine | C/T/L spine | T/L spine | PANCREAS | ANGIO Projected from C | Schulter-Arm |
    Ellenbogen u. Unterarm | Brain | TMJ | Thorax Rippen | handling | footer"""

CASES = [(text.strip(), name) for name, texts in TABLE.items() for text in texts.split(" |")]
EMPTY = [text.strip() for text in NOTHING.split(" |")]


@pytest.mark.parametrize(("text", "region"), CASES)
def test_a_header_text_gives_its_region(text: str, region: str) -> None:
    assert load_regions("skeletal22").normalise(text) == region


@pytest.mark.parametrize("text", [*EMPTY, "", None, "   "])
def test_unknown_or_ambiguous_texts_give_none(text: str | None) -> None:
    if text == "Schulter-Arm":
        assert load_regions("skeletal22").normalise(text) == "shoulder"  # the arm contains the shoulder
    else:
        assert load_regions("skeletal22").normalise(text) is None


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(CASES) + len(EMPTY) >= 150


@pytest.mark.parametrize(("text", "region"), [c for c in CASES if c[1] in load_regions("skeletal14").names])
def test_skeletal14_agrees_with_skeletal22(text: str, region: str) -> None:
    assert load_regions("skeletal14").normalise(text) == region


@pytest.mark.parametrize(
    ("text", "region"),
    [c for c in CASES if c[1] not in load_regions("skeletal14").names],
)
def test_regions_outside_the_list_are_none(text: str, region: str) -> None:
    assert load_regions("skeletal14").normalise(text) is None


def test_another_body_part_makes_a_text_ambiguous() -> None:
    assert load_regions("skeletal14").normalise("Becken und LWS") is None


@pytest.mark.parametrize("spec", ["skeletal14", "skeletal22"])
def test_codes_are_those_of_the_standard(spec: str) -> None:
    for region in load_regions(spec).regions:
        part = body_parts()[region.body_part_examined]
        assert (part.code, part.meaning, part.paired) == (
            region.snomed_code,
            region.snomed_meaning,
            region.paired,
        )


def test_every_own_term_names_its_region() -> None:
    regions = load_regions("skeletal22")
    for region in regions.regions:
        for term in (
            region.title,
            region.body_part_examined,
            region.snomed_meaning,
            *region.synonyms,
        ):
            assert regions.normalise(term) == region.name, term
