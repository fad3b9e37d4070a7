import imagehash
import numpy as np
import pytest
from PIL import Image

from radray.images.hashing import hash_pixels, perceptual_hash


def picture(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 6)).astype(np.float32)
    return np.asarray(Image.fromarray((coarse * 255).astype(np.uint8)).resize((128, 128), Image.Resampling.BICUBIC))


def slow_hash(image):
    """The definition: area average, cosine sums, median, bits."""
    small = image.reshape(32, 4, 32, 4).mean(axis=(1, 3)).round()
    n = np.arange(32)
    wave = np.array([np.cos(np.pi * (2 * n + 1) * k / 64) * np.sqrt((1 if k == 0 else 2) / 32) for k in range(8)])
    low = np.array([[sum(wave[u] @ small * wave[v]) for v in range(8)] for u in range(8)])
    bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    number = int(bits, 2)
    return number - (1 << 64) if number >= 1 << 63 else number


def distance(first, second):
    return ((first ^ second) & ((1 << 64) - 1)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_perceptual_hash_is_its_definition(seed):
    assert distance(perceptual_hash(picture(seed)), slow_hash(picture(seed))) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_perceptual_hash_agrees_with_imagehash(seed):
    theirs = int(str(imagehash.phash(Image.fromarray(picture(seed)))), 16)
    assert distance(perceptual_hash(picture(seed)), theirs) <= 8


def test_near_copies_are_near_and_others_far():
    image = picture(0)
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    assert distance(perceptual_hash(image), perceptual_hash(noisy)) <= 6
    assert distance(perceptual_hash(image), perceptual_hash(picture(1))) > 16
    assert -(1 << 63) <= perceptual_hash(image) < 1 << 63


def test_pixel_hash_tells_size_and_values():
    grey = picture(0).astype(np.float32) / 255
    assert hash_pixels(grey, 128, 128) == hash_pixels(grey.copy(), 128, 128)
    assert hash_pixels(grey, 128, 128) != hash_pixels(grey, 256, 256)
    other = grey.copy()
    other[5, 5] += 0.01
    assert hash_pixels(grey, 128, 128) != hash_pixels(other, 128, 128)
