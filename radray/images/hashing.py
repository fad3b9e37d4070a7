"""Two hashes of an image: of its exact pixels, and of its look."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt


def hash_pixels(grey: npt.NDArray[np.float32], source_rows: int, source_columns: int) -> str:
    """BLAKE2b (128 bits, hexadecimal) of decoded grey values at 16 bits and of the original's size.

    The same radiograph under other headers or in another lossless transfer syntax gives the same hash.
    """
    levels = (np.clip(grey, 0, 1) * 65535).astype("<u2")
    digest = hashlib.blake2b(f"{source_rows}x{source_columns}/{grey.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(levels).tobytes())
    return digest.hexdigest()


def perceptual_hash(image: npt.NDArray[np.uint8]) -> int:
    """The 64-bit DCT hash (pHash) of an image as a signed integer.

    The image is area-averaged to 32 × 32; bit i (from the highest, row by row) says whether the i-th of the 8 × 8
    lowest-frequency cosine coefficients lies above their median. Near-duplicates differ in few bits.
    """
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    low = cv2.dct(small)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)
