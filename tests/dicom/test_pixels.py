"""Every transfer syntax, pixel format and look-up against a plain twin at the final size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from radray.dicom.codestreams import jpeg2000_codestream
from radray.dicom.grey import grey_values
from radray.dicom.pixels import PixelLimits, decode
from radray.dicom.samples import SmallFrame, _shrink, small_size
from radray.errors import ConfigError, ObjectError, Reason

from .conftest import BIG_ENDIAN, DEFLATED, ENCODERS, EXPLICIT, IMPLICIT, dataset, make_object, picture, stored, written
from .test_child import SPEC

SIDE = 128
RLE = "1.2.840.10008.1.2.5"
WHOLE = {"WindowCenter": None, "WindowWidth": None}


def rms(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sqrt(np.mean((left - right) ** 2)))


CASES: list[tuple[str, int, bool]] = [
    *(
        (syntax, bits, signed)
        for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, RLE)
        for bits, signed in ((8, False), (10, False), (12, False), (12, True), (16, False), (16, True))
    ),
    *((syntax, bits, False) for syntax in ENCODERS if syntax[-2:] not in ("51", "50", ".1") for bits in (8, 12, 16)),
    ("1.2.840.10008.1.2.4.50", 8, False),
    ("1.2.840.10008.1.2.4.51", 8, False),
    ("1.2.840.10008.1.2.4.51", 12, False),
    ("1.2.840.10008.1.2.8.1", 12, False),
    ("1.2.840.10008.1.2.8.1", 12, True),
]


@pytest.mark.parametrize(("syntax", "bits", "signed"), CASES)
def test_every_syntax_gives_the_plain_picture(syntax: str, bits: int, signed: bool, grey: np.ndarray) -> None:
    centre = -0.5 if signed else (2**bits - 1) / 2
    body = make_object(
        stored(bits, signed), syntax, bits, WindowCenter=centre, WindowWidth=2**bits - 1, VOILUTFunction="LINEAR_EXACT"
    )
    pixels = decode(body, side_px=SIDE)
    assert pixels.grey.shape == grey.shape
    assert pixels.grey.dtype == np.float32
    assert (pixels.source_rows, pixels.source_columns) == (512, 384)
    assert rms(pixels.grey, grey) < 0.01


def test_signed_jpeg2000_is_shifted_back(grey: np.ndarray) -> None:
    import imagecodecs

    values = stored(12, signed=True)
    frame = bytearray(imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=12))
    header = dataset(values, 12, WindowCenter=-0.5, WindowWidth=4095, VOILUTFunction="LINEAR_EXACT")
    header.PixelData = encapsulate([bytes(frame)])
    header["PixelData"].VR = "OB"
    assert rms(decode(written(header, "1.2.840.10008.1.2.4.90"), side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize("side", [64, 100, 150, 256, 400, 512, 2000])
def test_jpeg2000_agrees_with_uncompressed_at_every_size(side: int) -> None:
    plain = decode(make_object(stored()), side_px=side).grey
    reduced = decode(make_object(stored(), "1.2.840.10008.1.2.4.90"), side_px=side).grey
    assert max(plain.shape) == min(side, 512)
    assert rms(plain, reduced) < 0.01


@pytest.mark.parametrize("shape", [(517, 395), (500, 381), (1251, 1023)])
@pytest.mark.parametrize("side", [64, 128, 200])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"])
def test_jpeg2000_of_odd_sizes_lies_where_the_full_frame_does(shape: tuple[int, int], side: int, syntax: str) -> None:
    values = np.round(cv2.resize(picture(), shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) * 4095)
    plain = decode(make_object(values.astype(np.uint16)), side_px=side).grey
    assert rms(plain, decode(make_object(values.astype(np.uint16), syntax), side_px=side).grey) < 0.01


def test_jpeg2000_with_tall_pixels_keeps_its_rows() -> None:
    values = cv2.resize(stored(), (1200, 400))
    plain, reduced = (
        decode(make_object(values, syntax, PixelAspectRatio=["5", "1"]), side_px=128).grey
        for syntax in (EXPLICIT, "1.2.840.10008.1.2.4.90")
    )
    assert plain.shape == reduced.shape
    assert rms(plain, reduced) < 0.01


def test_jpeg2000_with_an_offset_is_not_halved() -> None:
    frame = bytearray(imagecodecs.jpeg2k_encode(stored(), codecformat="j2k", reversible=True, bitspersample=12))
    assert jpeg2000_codestream(bytes(frame)).resolutions > 0
    frame[frame.find(b"\xff\x4f\xff\x51") + 19] = 1  # XOsiz
    assert jpeg2000_codestream(bytes(frame)).resolutions == 0


def test_reduced_jpeg2000_stays_within_the_range_of_its_samples() -> None:
    sharp = np.zeros((640, 512), np.uint8)
    sharp[60:580, 70:450] = 255
    sharp[200:300, 200:300] = 128
    plain, reduced = (
        decode(make_object(sharp, syntax, 8, **WHOLE), side_px=128).grey
        for syntax in (EXPLICIT, "1.2.840.10008.1.2.4.90")
    )
    assert rms(plain, reduced) < 0.03
    assert reduced[48, 48] == pytest.approx(plain[48, 48], abs=0.02)


def saturated() -> np.ndarray:
    """White steps on black, at the ends of the 12-bit range, where lossy codecs and wavelets overshoot."""
    pixels = np.zeros((512, 384), np.uint16)
    pixels[100:400, 60:200] = 4095
    pixels[250:300, 150:350] = 4094
    return pixels


@pytest.mark.parametrize(
    "frame",
    [
        ("1.2.840.10008.1.2.4.81", lambda pixels: imagecodecs.jpegls_encode(pixels, level=3)),
        ("1.2.840.10008.1.2.4.201", lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)),
        ("1.2.840.10008.1.2.4.90", lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k")),
    ],
    ids=["JPEG-LS near-lossless", "HTJ2K", "JPEG 2000 coded with 16 bits"],
)
def test_values_beyond_the_stored_bits_do_not_wrap_round(frame: tuple[str, Callable[[np.ndarray], bytes]]) -> None:
    syntax, encode = frame
    plain = make_object(saturated())
    header = dataset(saturated(), 12)
    header.PixelData = encapsulate([bytes(encode(saturated()))])
    header["PixelData"].VR = "OB"
    difference = decode(plain, side_px=64).grey - decode(written(header, syntax), side_px=64).grey
    assert np.abs(difference).max() < 0.3  # steps are as sharp as pixels; a value that wraps is white for black


def test_overlays_in_unused_bits_are_no_grey_values(grey: np.ndarray) -> None:
    drawn = stored() | (np.indices((512, 384)).sum(axis=0) % 2 << 12).astype(np.uint16)
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"):
        assert rms(decode(make_object(drawn, syntax), side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(1000, 800), (1003, 801), (517, 2051)])
def test_halving_first_changes_little(kind: type, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).normal(0, 8, shape)
    values = (cv2.resize(picture().astype(np.float32), shape[::-1]) * 180 + 30 + noise).clip(0, 255).astype(kind)
    size = small_size(*shape, replace(SPEC, rows=shape[0], columns=shape[1], side_px=100))
    small = _shrink(values, size)
    expected = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    assert max(small.shape) == 100
    assert rms(small / 255, expected / 255) < 0.01


def test_monochrome1_is_turned_so_that_bone_is_bright(grey: np.ndarray) -> None:
    body = make_object(4095 - stored(), PhotometricInterpretation="MONOCHROME1")
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


def test_presentation_lut_shape_repeats_what_monochrome1_says(grey: np.ndarray) -> None:
    body = make_object(4095 - stored(), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01
    body = make_object(4095 - stored(), PresentationLUTShape="INVERSE")
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"WindowCenter": 1024, "WindowWidth": 1024}, lambda v: (v - 1023.5) / 1023 + 0.5),
        ({"WindowCenter": [1024, 9], "WindowWidth": [1024, 9]}, lambda v: (v - 1023.5) / 1023 + 0.5),
        (
            {"WindowCenter": 1024, "WindowWidth": 1024, "VOILUTFunction": "LINEAR_EXACT"},
            lambda v: (v - 1024) / 1024 + 0.5,
        ),
        (
            {"WindowCenter": 1024, "WindowWidth": 512, "VOILUTFunction": "SIGMOID"},
            lambda v: 1 / (1 + np.exp(-4 * (v - 1024) / 512)),
        ),
        (
            {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 2000, "WindowWidth": 4000},
            lambda v: (2 * v - 100 - 1999.5) / 3999 + 0.5,
        ),
        (
            {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 4096},
            lambda v: (4095 - v - 2047.5) / 4095 + 0.5,
        ),
    ],
)
def test_windows_and_rescale_follow_the_standard(elements: dict[str, Any], expected: Any) -> None:
    from .conftest import block_mean

    values = block_mean(stored().astype(float), 4)
    shown = decode(make_object(stored(), **elements), side_px=SIDE).grey
    assert rms(shown, np.clip(expected(values), 0, 1)) < 0.003


def _lut(descriptor: list[int], data: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", descriptor)
    item.add_new(0x00283006, "OW", data.astype("<u2").tobytes())
    return item


def test_a_voi_lut_is_looked_up(grey: np.ndarray) -> None:
    curve = np.round(1023 * (np.arange(4096) / 4095) ** 2)
    body = make_object(stored(), VOILUTSequence=[_lut([4096, 0, 10], curve)])
    assert rms(decode(body, side_px=SIDE).grey, (grey.astype(float)) ** 2) < 0.01


def test_values_between_and_beyond_the_entries_of_a_lut() -> None:
    table = np.round(1023 * (np.arange(300) / 299) ** 2)
    header = Dataset()
    header.VOILUTSequence = [_lut([300, 1000, 10], table)]
    rng = np.random.default_rng(0)
    values = rng.uniform(900, 1400, (60, 50)).astype(np.float32)
    shown = grey_values(SmallFrame(values=values, is_luminance=False, source_rows=60, source_columns=50), header)
    assert np.allclose(shown, np.interp(values, np.arange(1000, 1300), table) / 1023, rtol=0, atol=1e-6)
    assert shown.min() == 0 and shown.max() == 1


def test_a_modality_lut_is_looked_up(grey: np.ndarray) -> None:
    curve = 4095 - np.arange(4096)
    body = make_object(4095 - stored(), ModalityLUTSequence=[_lut([4096, 0, 12], curve)])
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


def test_a_modality_lut_may_widen_8_bits_to_16(grey: np.ndarray) -> None:
    curve = np.round(65535 * np.arange(256) / 255)
    body = make_object(stored(8), EXPLICIT, 8, ModalityLUTSequence=[_lut([256, 0, 16], curve)], **WHOLE)
    shown = decode(body, side_px=SIDE).grey
    assert np.corrcoef(shown.ravel(), grey.ravel())[0, 1] > 0.99
    assert 0.3 < shown.mean() / grey.mean() < 3


@pytest.mark.parametrize(
    "elements", [{"WindowCenter": -9000, "WindowWidth": 10}, {"WindowCenter": 9000, "WindowWidth": 2}]
)
def test_a_window_that_shows_nothing_is_ignored(elements: dict[str, Any], grey: np.ndarray) -> None:
    shown = decode(make_object(stored(), **elements), side_px=SIDE).grey
    assert np.corrcoef(shown.ravel(), grey.ravel())[0, 1] > 0.95


def test_without_a_window_the_percentiles_span_the_range() -> None:
    shown = decode(make_object(stored() // 8, **WHOLE), side_px=SIDE).grey
    assert shown.min() == 0
    assert shown.max() == 1


def test_overlay_bits_above_the_stored_ones_are_dropped(grey: np.ndarray) -> None:
    values = stored() | (np.random.default_rng(0).integers(0, 16, (512, 384)).astype(np.uint16) << 12)
    header = dataset(values, 12, BitsStored=12, HighBit=11)
    header.PixelData = values.tobytes()
    header["PixelData"].VR = "OW"
    assert rms(decode(written(header, EXPLICIT), side_px=SIDE).grey, grey) < 0.01


def test_high_bit_15_means_shifted_samples(grey: np.ndarray) -> None:
    body = make_object(stored() << 4, HighBit=15)
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


def test_padding_becomes_background() -> None:
    values = stored()
    values[:, :96] = 4000
    shown = decode(make_object(values, PixelPaddingValue=4000), side_px=SIDE).grey
    assert shown[:, :23].max() < 0.05


def test_pixels_that_are_not_square_are_made_square() -> None:
    assert decode(make_object(stored(), PixelAspectRatio=[1, 2]), side_px=SIDE).grey.shape == (85, 128)
    assert decode(make_object(stored(), PixelAspectRatio=[2, 1]), side_px=SIDE).grey.shape == (128, 48)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_rgb_becomes_luminance(planar: int, syntax: str, grey: np.ndarray) -> None:
    colour = np.repeat(stored(8)[..., None], 3, axis=2)
    if syntax == EXPLICIT and planar:
        header = dataset(colour, 8, PlanarConfiguration=1)
        header.PixelData = np.moveaxis(colour, -1, 0).tobytes()
        header["PixelData"].VR = "OB"
        body = written(header, EXPLICIT)
    else:
        body = make_object(colour, syntax, 8, PlanarConfiguration=planar)
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_compressed_colour_becomes_luminance(syntax: str, grey: np.ndarray) -> None:
    colour = np.repeat(stored(8)[..., None], 3, axis=2)
    assert rms(decode(make_object(colour, syntax, 8), side_px=SIDE).grey, grey) < 0.01


def test_ybr_full_422_is_its_luminance(grey: np.ndarray) -> None:
    luminance = stored(8)
    pairs = np.stack([luminance[:, ::2], luminance[:, 1::2]], axis=-1)
    packed = np.concatenate([pairs, np.full_like(pairs, 128)], axis=-1)
    colour = np.repeat(luminance[..., None], 3, axis=2)
    header = dataset(colour, 8, PhotometricInterpretation="YBR_FULL_422")
    header.PixelData = packed.tobytes()
    header["PixelData"].VR = "OB"
    assert rms(decode(written(header, EXPLICIT), side_px=SIDE).grey, grey) < 0.01


def test_a_palette_is_looked_up(grey: np.ndarray) -> None:
    table = np.arange(255, -1, -1, dtype=np.uint16) * 257
    elements = {}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    body = make_object(255 - stored(8), EXPLICIT, 8, PhotometricInterpretation="PALETTE COLOR", **elements)
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize("with_offsets", [True, False])
def test_the_first_of_several_frames_is_taken(with_offsets: bool, grey: np.ndarray) -> None:
    frames = [ENCODERS["1.2.840.10008.1.2.4.90"](values, 12) for values in (stored(), 4095 - stored())]
    header = dataset(stored(), 12, NumberOfFrames=2)
    header.PixelData = encapsulate(frames, has_bot=with_offsets, fragments_per_frame=3)
    header["PixelData"].VR = "OB"
    body = written(header, "1.2.840.10008.1.2.4.90")
    assert rms(decode(body, side_px=SIDE).grey, grey) < 0.01
    assert rms(decode(body, side_px=SIDE, frame=1).grey, 1 - grey) < 0.01
    with pytest.raises(ObjectError, match="no frame 3 of 2"):
        decode(body, side_px=SIDE, frame=2)


def test_a_later_frame_of_uncompressed_pixels_is_taken(grey: np.ndarray) -> None:
    header = dataset(stored(), 12, NumberOfFrames=2)
    header.PixelData = np.stack([stored(), 4095 - stored()]).tobytes()
    assert rms(decode(written(header, EXPLICIT), side_px=SIDE, frame=1).grey, 1 - grey) < 0.01
    header.PixelData = header.PixelData[:-100]
    with pytest.raises(ObjectError, match="bytes of pixels"):
        decode(written(header, EXPLICIT), side_px=SIDE, frame=1)


def test_a_wrong_syntax_of_the_jpeg_family_is_seen_through(grey: np.ndarray) -> None:
    header = dataset(stored(), 12)
    header.PixelData = encapsulate([ENCODERS["1.2.840.10008.1.2.4.90"](stored(), 12)])
    header["PixelData"].VR = "OB"
    assert rms(decode(written(header, "1.2.840.10008.1.2.4.70"), side_px=SIDE).grey, grey) < 0.01


def test_no_preamble_no_meta(grey: np.ndarray) -> None:
    for syntax in (EXPLICIT, IMPLICIT):
        header = dataset(stored(), 12)
        header.PixelData = stored().tobytes()
        header["PixelData"].VR = "OW"
        assert rms(decode(written(header, syntax, preamble=False), side_px=SIDE).grey, grey) < 0.01


@pytest.mark.parametrize(("said", "burned_in"), [("YES", True), ("NO", False), (None, None)])
def test_burned_in_annotation_is_passed_on(said: str | None, burned_in: bool | None) -> None:
    elements = {"BurnedInAnnotation": said} if said else {}
    assert decode(make_object(stored(), **elements), side_px=SIDE).burned_in is burned_in


def refusal(body: bytes, **limits: Any) -> Reason:
    with pytest.raises(ObjectError) as caught:
        decode(body, side_px=SIDE, limits=PixelLimits(**limits))
    return caught.value.reason


def test_reasons() -> None:
    whole = make_object(stored())
    assert refusal(b"") is Reason.NOT_DICOM
    assert refusal(b"\x89PNG\r\n\x1a\n" + bytes(500)) is Reason.NOT_DICOM
    assert refusal(whole[: len(whole) // 2]) is Reason.CORRUPT_PIXELS
    assert refusal(whole, max_pixels=512 * 384 - 1) is Reason.TOO_LARGE
    assert refusal(make_object(stored(), BitsAllocated=12)) is Reason.CORRUPT_PIXELS
    assert refusal(make_object(stored(), Rows=0)) is Reason.CORRUPT_PIXELS
    assert refusal(written(dataset(stored(), 12), EXPLICIT)) is Reason.NO_PIXELS
    header = dataset(stored(), 12)
    header.PixelData = encapsulate([b"\0" * 64])
    header["PixelData"].VR = "OB"
    assert refusal(written(header, "1.2.840.10008.1.2.4.100")) is Reason.UNSUPPORTED_TRANSFER_SYNTAX
    assert refusal(written(header, "1.2.840.10008.1.2.4.90")) is Reason.CORRUPT_PIXELS
    with pytest.raises(ConfigError, match="timeout_s"):
        PixelLimits(timeout_s=0)


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, RLE, *ENCODERS])
def test_objects_cut_off_anywhere_give_a_reason(syntax: str) -> None:
    body = make_object(stored(8), syntax, 8)
    for share in (0.02, 0.1, 0.5, 0.9, 0.99):
        try:
            shown = decode(body[: int(len(body) * share)], side_px=SIDE).grey
        except ObjectError as error:
            assert error.reason in (Reason.CORRUPT_PIXELS, Reason.CORRUPT_HEADER, Reason.NO_PIXELS, Reason.NOT_DICOM)
        else:
            assert share == 0.99, "only the tail of the object may be missing"
            assert shown.shape == (128, 96)


def test_every_odd_object_gives_pixels_or_a_reason() -> None:
    odd = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "odd"
    if not odd.is_dir():
        pytest.skip("the folder of odd DICOM files is not there")
    read, refused = 0, 0
    for path in sorted(odd.rglob("*.dcm"))[::4]:
        try:
            shown = decode(path.read_bytes(), side_px=SIDE).grey
        except ObjectError as error:
            refused += 1
            assert error.reason in Reason
        else:
            read += 1
            assert shown.ndim == 2
            assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
            assert max(shown.shape) <= SIDE
    assert read > refused > 0


def test_the_picture_is_worth_comparing() -> None:
    assert picture().std() > 0.15


@pytest.mark.parametrize(
    "elements", [{"BitsStored": 65535}, {"HighBit": 65535}, {"WindowWidth": 1e300}, {"RescaleSlope": -1e300}]
)
def test_absurd_numbers_in_a_header_are_no_crash(elements: dict[str, Any]) -> None:
    header = dataset(stored(), 12, **elements)
    header.PixelData = stored().tobytes()
    header["PixelData"].VR = "OW"
    try:
        shown = decode(written(header, EXPLICIT), side_px=SIDE).grey
        assert np.isfinite(shown).all()
    except ObjectError as error:
        assert error.reason is Reason.CORRUPT_PIXELS
