"""One synthetic radiograph: a sketch of the region posed, framed, projected, exposed, collimated and marked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from radray.errors import ConfigError
from radray.phantom import hardware
from radray.phantom.anatomy import PAIRED, SKETCHES, TRUNK
from radray.phantom.projection import Image, attenuation, detector_signal, fill_mask
from radray.phantom.shapes import Points, Sketch, ellipse, map_points, turn

WORK_SIDE_PX = 400
"""Long side at which bones are projected; edges, text and noise come at full size."""

Random = np.random.Generator


@dataclass(kw_only=True)
class Rendered:
    """A radiograph and the truth about its geometry."""

    pixels: Image
    """Grey values [rows, cols] in [0, 1], bone bright."""
    region: str
    """Name in `skeletal22`."""
    view: str
    """AP, PA, LAT, OBL, AX or Y."""
    side: str
    """R, L or "" where the region is not paired."""
    exposed_field: list[tuple[float, float]]
    """Corners of the exposed field, (x, y) in pixels."""
    angle_deg: float
    """Rotation of the exposed field against the image's axes, clockwise, degrees."""
    turned_deg: float
    """Rotation of the anatomy against its upright position, clockwise, degrees."""
    collimation: str
    """none, white (unexposed), grey (scatter only) or black (shutter)."""
    marker: str
    """R, L or ""."""
    gauges: list[str]
    """ball, ruler; empty if none."""
    implant: str
    """plate, nail, screws, prosthesis, clips or ""."""
    cast: bool
    """The limb lies in plaster."""
    burned_in: bool
    """Text stands in the pixels."""
    cue: str
    """The spurious cue drawn, or ""."""


@lru_cache(maxsize=4)
def _noise_bank(kind: str) -> Image:
    """Unit-variance noise [1600, 1600]: white, blurred (detector glare), or sponge (texture of spongy bone)."""
    white = np.random.default_rng(20260101).standard_normal((1600, 1600), dtype=np.float32)
    if kind == "white":
        return white
    if kind == "soft":
        bank = cv2.GaussianBlur(white, (0, 0), 0.8)
    else:
        bank = cv2.GaussianBlur(white, (0, 0), 0.9) - 0.9 * cv2.GaussianBlur(white, (0, 0), 2.6)
        bank = bank + 3.2 * cv2.GaussianBlur(white, (0, 0), 12.0)
    return np.asarray(bank / bank.std(), dtype=np.float32)


def _noise(kind: str, shape: tuple[int, int], rng: Random) -> Image:
    bank = _noise_bank(kind)
    if max(shape) > 1600:
        reps = -(-max(shape) // 1600)
        bank = np.tile(bank, (reps, reps))
    top, left = (int(rng.integers(0, bank.shape[i] - shape[i] + 1)) for i in (0, 1))
    window = bank[top : top + shape[0], left : left + shape[1]]
    return window[:: (1 if rng.random() < 0.5 else -1), :: (1 if rng.random() < 0.5 else -1)]


def _individual(rng: Random) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a smooth deformation: linear [2, 2] and quadratic [2, 3] (per 200 mm)."""
    linear = np.eye(2) * rng.uniform(0.88, 1.14) + rng.normal(0, 0.045, (2, 2))
    return linear, rng.normal(0, 0.035, (2, 3))


def _image_shape(sketch: Sketch, side_px: int, rng: Random, quarter: bool) -> tuple[int, int]:
    long_side = round(side_px * rng.uniform(0.75, 1.0))
    aspect = float(rng.choice([0.82, 0.7, 1.0], p=[0.5, 0.2, 0.3])) * rng.uniform(0.95, 1.05)
    short = max(16, round(long_side * min(aspect, 1.0)))
    width, height = sketch.view.field
    upright = (height >= width) != quarter
    if rng.random() < 0.2:
        upright = not upright
    return (long_side, short) if upright else (short, long_side)


def _frame(
    shape: tuple[int, int], sketch: Sketch, quarter: bool, rng: Random
) -> tuple[Points, float, float, str, tuple[float, float]]:
    """Exposed field [n, 2] in pixels, its angle, pixels a mm, what lies outside it, and its middle."""
    rows, columns = shape
    width, height = sketch.view.field
    if quarter:
        width, height = height, width
    seen_w, seen_h = width * rng.uniform(0.84, 1.16), height * rng.uniform(0.84, 1.16)
    if rng.random() < 0.3:
        scale = min(columns / seen_w, rows / seen_h)
        # A free detector of another aspect would show the neighbours; zoom in until it mostly does not.
        scale *= (max(columns / seen_w, rows / seen_h) / scale) ** rng.uniform(0.2, 0.7)
        corners = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], dtype=np.float64)
        return corners, 0.0, scale, "none", (columns / 2, rows / 2)
    angle = float(rng.normal(0, 2.5) if rng.random() < 0.7 else rng.uniform(-28, 28))
    cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
    fit = min(columns / (seen_w * cos + seen_h * sin), rows / (seen_w * sin + seen_h * cos))
    scale = fit * rng.uniform(0.66, 1.0)
    field_w, field_h = seen_w * scale, seen_h * scale
    room_x = max(0.0, (columns - field_w * cos - field_h * sin) / 2)
    room_y = max(0.0, (rows - field_w * sin - field_h * cos) / 2)
    centre = (columns / 2 + rng.uniform(-0.8, 0.8) * room_x, rows / 2 + rng.uniform(-0.8, 0.8) * room_y)
    if rng.random() < 0.06:
        corners = ellipse(centre, field_w / 2, field_h / 2, angle, 40)
    else:
        w, h = field_w / 2, field_h / 2
        corners = turn(np.array([(-w, -h), (w, -h), (w, h), (-w, h)]), -angle) + np.asarray(centre)
    outside = str(rng.choice(["white", "grey", "black"], p=[0.35, 0.2, 0.45]))
    return corners, angle, scale, outside, centre


def _exposure(signal: Image, inside: np.ndarray, rng: Random) -> Image:
    """Log signal, windowed and bent by a random characteristic curve, [0, 1], bone bright."""
    density = -np.log(np.maximum(signal, np.float32(1e-4)))
    sample = density[::4, ::4][inside[::4, ::4] > 0]
    low, high = np.quantile(sample, (0.03, 0.985)) if sample.size > 20 else (0.0, 4.0)
    span = max(float(high - low), 0.3)
    low_end, high_end = low - span * rng.uniform(-0.12, 0.35), high + span * rng.uniform(-0.08, 0.45)
    grey = np.clip((density - np.float32(low_end)) / np.float32(high_end - low_end), 0, 1.15)
    grey = cv2.pow(grey, float(np.exp(rng.normal(0, 0.38))))
    if rng.random() < 0.6:
        # Multi-frequency enhancement as consoles apply it: large structures damped, details raised.
        small = cv2.resize(grey, (max(grey.shape[1] // 8, 1), max(grey.shape[0] // 8, 1)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), max(grey.shape[0] / 112, 0.6))
        broad = cv2.resize(small, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
        grey = (
            broad * np.float32(rng.uniform(0.5, 0.8))
            + (grey - broad) * np.float32(rng.uniform(1.2, 2.2))
            + np.float32(0.1)
        )
    return np.asarray(grey, dtype=np.float32)


def render_radiograph(
    region: str,
    rng: np.random.Generator,
    side_px: int = 1024,
    *,
    side: str | None = None,
    text: list[str] | None = None,
    cue: str = "",
    hardware_share: float = 0.12,
) -> Rendered:
    """Draw one radiograph of a region with random view, individual, pose, framing, exposure and extras.

    Args:
        region: A name of `skeletal22`.
        rng: All randomness comes from here; the same state gives the same pixels.
        side_px: Greatest long side; images are 0.75 to 1.0 of it.
        side: "R" or "L"; None draws one (ignored for unpaired regions).
        text: Lines burned into a corner; None or empty burns none.
        cue: A shape of `radray.phantom.hardware.CUES` to draw, or "".
        hardware_share: Chance of an implant; casts and gauges follow it.

    Raises:
        ConfigError: No sketch has this name.
    """
    if region not in SKETCHES:
        raise ConfigError(f"phantom region {region!r} is not known; set one of {', '.join(SKETCHES)}")
    sketch = SKETCHES[region](rng)
    drawn_side = "R" if rng.random() < 0.5 else "L"
    side = (side or drawn_side) if region in PAIRED else ""
    limb = region not in TRUNK
    quarter_deg = float(rng.choice([90.0, -90.0, 180.0])) if limb and rng.random() < 0.06 else 0.0
    quarter = abs(quarter_deg) == 90.0
    shape = _image_shape(sketch, side_px, rng, quarter)
    field, angle, scale, outside, centre = _frame(shape, sketch, quarter, rng)

    factor = min(1.0, WORK_SIDE_PX / max(shape))
    work_shape = (max(8, round(shape[0] * factor)), max(8, round(shape[1] * factor)))
    tilt = float(rng.normal(0, 7 if limb else 3.5))
    turned = quarter_deg + tilt + angle
    linear, quadratic = _individual(rng)
    mirror = -1.0 if side == "L" or (side == "" and rng.random() < 0.5) else 1.0
    width, height = sketch.view.field
    shift = np.array([rng.normal(0, 0.05) * width, rng.normal(0, 0.05) * height])
    middle = np.asarray(sketch.view.centre)

    def place(points: Points) -> Points:
        local = points - middle
        u, v = local[:, 0] / 200, local[:, 1] / 200
        bent = local @ linear.T + 200 * np.stack([u * u, u * v, v * v], 1) @ quadratic.T + shift
        bent = turn(bent * [mirror, 1.0], -turned)
        placed: Points = (bent * scale + np.asarray(centre)) * factor
        return placed

    map_points(sketch, place)
    mm_per_px = 1.0 / (scale * factor)
    sponge = _noise("sponge", work_shape, rng)
    integral = attenuation(sketch, work_shape, mm_per_px, sponge)
    integral *= np.float32(rng.uniform(0.75, 1.2))
    implant = hardware.add_implant(integral, sketch, mm_per_px, rng) if rng.random() < hardware_share else ""
    cast = bool(limb and rng.random() < hardware_share * 0.4)
    if cast:
        hardware.add_cast(integral, sketch, mm_per_px, sponge)

    inside = fill_mask([field * factor], work_shape)
    signal = detector_signal(integral, float(rng.uniform(0.02, 0.22)), float(rng.uniform(20, 60)))
    if rng.random() < 0.35:
        # Heel effect and uneven detector gain.
        ramp = np.linspace(-1, 1, work_shape[0], dtype=np.float32)[:, None] * np.float32(rng.normal(0, 0.15))
        signal *= np.exp(
            ramp + np.linspace(-1, 1, work_shape[1], dtype=np.float32)[None] * np.float32(rng.normal(0, 0.15))
        )
    grey = _exposure(signal, inside, rng)
    blur = float(rng.uniform(0, 0.9))
    if blur > 0.3:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), dtype=np.float32)
    pixels = np.asarray(cv2.resize(grey, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    pixels = _collimate(pixels, field, outside, rng)
    marker = ""
    gauges: list[str] = []
    if rng.random() < 0.55:
        marker = side or str(rng.choice(["R", "L"]))
        hardware.draw_marker(pixels, field, marker, rng)
    while rng.random() < hardware_share * 1.3 and len(gauges) < 2:
        gauges.append(hardware.draw_gauge(pixels, field, rng))
    amount = np.float32(np.exp(rng.uniform(np.log(0.004), np.log(0.032))))
    pixels += amount * _noise("white" if rng.random() < 0.5 else "soft", shape, rng)
    if text:
        hardware.draw_text(pixels, text, rng)
    if cue:
        hardware.draw_cue(pixels, cue, rng)
    np.clip(pixels, 0, 1, out=pixels)
    return Rendered(
        pixels=pixels, region=region, view=sketch.view.name, side=side,
        exposed_field=[(round(float(x), 1), round(float(y), 1)) for x, y in field],
        angle_deg=angle, turned_deg=turned, collimation=outside, marker=marker, gauges=gauges, implant=implant,
        cast=cast, burned_in=bool(text), cue=cue,
    )  # fmt: skip


def _collimate(pixels: Image, field: Points, outside: str, rng: Random) -> Image:
    """Blank what lies outside the exposed field: white (unexposed), grey (scatter) or black (shutter, bright edge)."""
    if outside == "none":
        if rng.random() < 0.25:
            frame = max(1, int(max(pixels.shape) * rng.uniform(0.003, 0.012)))
            value = np.float32(rng.choice([0.0, 1.0]))
            pixels[:frame], pixels[-frame:], pixels[:, :frame], pixels[:, -frame:] = value, value, value, value
        return pixels
    soften = float(rng.uniform(0.4, 0.004 * max(pixels.shape) + 0.5))
    stencil = cv2.GaussianBlur(fill_mask([field], (pixels.shape[0], pixels.shape[1]), 255), (0, 0), soften)
    mask = np.multiply(stencil, np.float32(1 / 255), dtype=np.float32)
    level = {"white": rng.uniform(0.85, 1.0), "grey": rng.uniform(0.3, 0.7), "black": rng.uniform(0.0, 0.06)}[outside]
    rest = np.float32(level)
    blanked = rest + (pixels - rest) * mask
    if outside == "grey":
        blanked += (pixels - rest) * (1 - mask) * np.float32(0.12)
    if outside != "white" and rng.random() < 0.6:
        line = max(1, round(max(pixels.shape) * rng.uniform(0.002, 0.008)))
        edge = [np.round(field * 16).astype(np.int32)]
        cv2.polylines(blanked, edge, True, float(rng.uniform(0.8, 1.0)), line, cv2.LINE_AA, shift=4)
    return np.asarray(blanked, dtype=np.float32)
