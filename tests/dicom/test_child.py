"""The decoding child: crash, hang, memory, and life after each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest

from radray.dicom.child import DecodingChild
from radray.dicom.samples import FrameSpec
from radray.errors import ObjectError, Reason

from .conftest import stored


def spec(rows: int, columns: int, codec: str = "jpegls") -> FrameSpec:
    return FrameSpec(
        codec=codec,
        rows=rows,
        columns=columns,
        samples=1,
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        signed=False,
        photometric="MONOCHROME2",
        planar=False,
        big_endian=False,
        padding=None,
        lossy=False,
        bright_is_low=False,
        palette=None,
        side_px=128,
        pixel_height=1.0,
    )


FRAME = imagecodecs.jpegls_encode(stored())
SPEC = spec(512, 384)


@pytest.fixture(scope="module")
def child() -> Iterator[DecodingChild]:
    child = DecodingChild(2 << 30)
    yield child
    child.close()


def pid(child: DecodingChild) -> int:
    assert child._process is not None
    return child._process.pid


def refusal(child: DecodingChild, frame: bytes, timeout_s: float, wanted: FrameSpec = SPEC) -> Reason:
    with pytest.raises(ObjectError) as caught:
        child.decode(frame, wanted, timeout_s)
    return caught.value.reason


def test_the_child_is_kept(child: DecodingChild) -> None:
    first = child.decode(FRAME, SPEC, 30)
    kept = pid(child)
    again = child.decode(FRAME, SPEC, 30)
    assert pid(child) == kept
    assert np.array_equal(first.values, again.values)
    assert first.values.shape == (128, 96)


def test_a_damaged_frame_leaves_the_child_alive(child: DecodingChild) -> None:
    child.decode(FRAME, SPEC, 30)
    kept = pid(child)
    assert refusal(child, b"\0" * 100, 30) is Reason.CORRUPT_PIXELS
    assert pid(child) == kept


def test_a_hang_ends_in_time_and_the_next_image_comes(child: DecodingChild) -> None:
    child.decode(FRAME, SPEC, 30)
    os.kill(pid(child), signal.SIGSTOP)
    started = time.monotonic()
    assert refusal(child, FRAME * 20, 0.5) is Reason.DECODE_TIMEOUT
    assert time.monotonic() - started < 10
    assert child.decode(FRAME, SPEC, 30).values.shape == (128, 96)


def test_a_crash_is_a_reason_and_the_next_image_comes(child: DecodingChild) -> None:
    child.decode(FRAME, SPEC, 30)
    victim = pid(child)
    os.kill(victim, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (victim, signal.SIGSEGV))
    waker = threading.Timer(0.4, os.kill, (victim, signal.SIGCONT))
    killer.start()
    waker.start()
    assert refusal(child, FRAME, 30) is Reason.DECODER_CRASHED
    assert child.decode(FRAME, SPEC, 30).values.shape == (128, 96)


def test_after_a_crash_the_next_image_does_not_wait(child: DecodingChild) -> None:
    child.decode(FRAME, SPEC, 30)
    waits = []
    for _ in range(3):
        time.sleep(3)  # the one that stands by has imported its codecs by then
        started = time.monotonic()
        child.decode(FRAME, SPEC, 30)
        usual = time.monotonic() - started
        os.kill(pid(child), signal.SIGKILL)
        while child._process is not None and child._process.poll() is None:
            time.sleep(0.001)
        started = time.monotonic()
        child.decode(FRAME, SPEC, 30)
        waits.append(time.monotonic() - started - usual)
    assert min(waits) < 0.1


def test_memory_is_limited() -> None:
    small = DecodingChild(1100 << 20)
    try:
        frame = imagecodecs.jpegls_encode(np.zeros((20_000, 20_000), np.uint16))
        assert refusal(small, frame, 60, spec(20_000, 20_000)) in (Reason.TOO_LARGE, Reason.CORRUPT_PIXELS)
        assert small.decode(FRAME, SPEC, 30).values.shape == (128, 96)
    finally:
        small.close()


def _decode_in_worker(answers: multiprocessing.Queue) -> None:
    inner = DecodingChild(2 << 30)
    answers.put(inner.decode(FRAME, SPEC, 60).values.shape)
    inner.close()


def test_it_works_inside_a_daemonic_process() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    worker = context.Process(target=_decode_in_worker, args=(answers,), daemon=True)
    worker.start()
    assert answers.get(timeout=90) == (128, 96)
    worker.join(30)
