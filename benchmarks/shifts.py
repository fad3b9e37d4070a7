"""The same radiograph as other scanners, viewers and archives would have stored it: functions of grey values alone.

Each takes float32 [rows, columns] in [0, 1], bone bright, and a random generator, and returns the same kind of image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]
Generator = np.random.Generator


def tone_curve(grey: Grey, rng: Generator) -> Grey:
    """A power of 0.5 or 2: another detector's characteristic curve."""
    return grey ** np.float32(rng.choice([0.5, 2.0]))


def window(grey: Grey, rng: Generator) -> Grey:
    """A narrow window: a quarter of the range that the image uses is clipped away, dark or bright."""
    low, high = np.quantile(grey, [0.005, 0.995])
    quarter = (high - low) / 4
    low, high = (low + quarter, high) if rng.random() < 0.5 else (low, high - quarter)
    return np.clip((grey - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)


def inversion(grey: Grey, rng: Generator) -> Grey:
    """Bone dark: a header that does not tell."""
    return 1 - grey


def half_resolution(grey: Grey, rng: Generator) -> Grey:
    """Half the rows and columns."""
    return _shrunk(grey, 2)


def quarter_resolution(grey: Grey, rng: Generator) -> Grey:
    """A quarter of the rows and columns."""
    return _shrunk(grey, 4)


def jpeg(grey: Grey, rng: Generator) -> Grey:
    """JPEG at quality 12."""
    body = cv2.imencode(".jpg", _bytes(grey), [cv2.IMWRITE_JPEG_QUALITY, 12])[1]
    return cv2.imdecode(body, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)


def borders(grey: Grey, rng: Generator) -> Grey:
    """A frame of black, white or grey, a fifth to two fifths of the image on each side."""
    margins = [round(float(share) * size) for share, size in zip(rng.uniform(0.2, 0.4, 4), grey.shape * 2, strict=True)]
    top, left, bottom, right = margins
    value = float(rng.choice([0.0, 1.0, 0.3]))
    return cv2.copyMakeBorder(grey, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)


def collimation(grey: Grey, rng: Generator) -> Grey:
    """Only 70 to 85 % of rows and of columns exposed, the rest nearly black."""
    result = grey * np.float32(0.05)
    rows, columns = (round(size * float(rng.uniform(0.7, 0.85))) for size in grey.shape)
    top, left = int(rng.integers(0, grey.shape[0] - rows + 1)), int(rng.integers(0, grey.shape[1] - columns + 1))
    inside = np.s_[top : top + rows, left : left + columns]
    result[inside] = grey[inside]
    return result


def quarter_turns(grey: Grey, rng: Generator) -> Grey:
    """Turned by 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(grey, int(rng.integers(1, 4))))


def small_angle(grey: Grey, rng: Generator) -> Grey:
    """Turned by 8 to 15 degrees either way on a black ground."""
    angle = float(rng.uniform(8, 15) * rng.choice([-1, 1]))
    rows, columns = grey.shape
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), angle, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (round(rows * sin + columns * cos), round(rows * cos + columns * sin))
    matrix[:, 2] += ((size[0] - columns) / 2, (size[1] - rows) / 2)
    return cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderValue=0)


def markers(grey: Grey, rng: Generator) -> Grey:
    """A side marker, a line of text at the edge, and a ruler."""
    rows, columns = grey.shape
    ink = np.zeros((rows, columns), np.uint8)
    scale = min(rows, columns) / 220
    place = (int(rng.uniform(0.05, 0.8) * columns), int(rng.uniform(0.15, 0.95) * rows))
    cv2.putText(ink, str(rng.choice(["L", "R"])), place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(2 * scale)))
    text = " ".join(str(rng.integers(100, 9999)) for _ in range(4))
    place = (int(0.02 * columns), int(rng.choice([0.06, 0.98]) * rows))
    cv2.putText(ink, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35 * scale, 255, max(1, round(scale)))
    side = int(rng.choice([0.03, 0.97]) * columns)
    for tick in range(20):
        height = round((0.2 + 0.03 * tick) * rows)
        cv2.line(ink, (side - 3 - 3 * (tick % 5 == 0), height), (side + 3, height), 255, 1)
    return np.maximum(grey, ink.astype(np.float32) / np.float32(255))


def noise(grey: Grey, rng: Generator) -> Grey:
    """A tenth of the dose: quantum noise with a standard deviation of 0.08 at full exposure."""
    exposure = np.sqrt(np.clip(1 - 0.7 * grey, 0.1, 1))
    return np.clip(grey + 0.08 * rng.standard_normal(grey.shape) * exposure, 0, 1).astype(np.float32)


SHIFTS: dict[str, Callable[[Grey, Generator], Grey]] = {
    each.__name__: each
    for each in (
        tone_curve,
        window,
        inversion,
        half_resolution,
        quarter_resolution,
        jpeg,
        borders,
        collimation,
        quarter_turns,
        small_angle,
        markers,
        noise,
    )
}


def _shrunk(grey: Grey, factor: int) -> Grey:
    rows, columns = (max(1, size // factor) for size in grey.shape)
    return cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)


def _bytes(grey: Grey) -> npt.NDArray[np.uint8]:
    return np.round(grey * 255).astype(np.uint8)
