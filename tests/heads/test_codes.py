"""The head `codes`, on codes that zxing-cpp draws, against the content and the homography that they were drawn with."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_app import registry
from edge_app.errors import ConfigError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads.codes import Head
from tests.heads.printed import code, in_scene, mapped

SPEC = HeadSpec("codes", "codes", Head.labels, (0, 0))
CONTENT = {
    "qr": ("QRCode", "https://example.org/a?b=c"),
    "micro_qr": ("MicroQRCode", "12345"),
    "data_matrix": ("DataMatrix", "LOT 4711"),
    "aztec": ("Aztec", "ticket"),
    "pdf417": ("PDF417", "boarding"),
    "ean13": ("EAN13", "4006381333931"),
    "ean8": ("EAN8", "96385074"),
    "code128": ("Code128", "abc-123"),
    "code39": ("Code39", "ABC123"),
    "code93": ("Code93", "ABC123"),
    "codabar": ("Codabar", "A123A"),
    "itf": ("ITF", "12345678"),
}


def read(head: Head, image: np.ndarray):
    size = (image.shape[1], image.shape[0])
    return head.decode({"image": image[None]}, fit(size, size, "stretch"))


def found(result) -> list[tuple[str, str]]:
    return [(Head.labels[kind], text) for kind, text in zip(result.class_id, result.texts or ())]


@pytest.mark.parametrize("kind", CONTENT)
def test_reads_every_kind(kind: str):
    format_, text = CONTENT[kind]
    assert found(read(Head(SPEC, kinds=(kind,)), in_scene(code(text, format_, 4))[0])) == [(kind, text)]


@pytest.mark.parametrize("turn", [0, 45, 110])
def test_reads_a_bar_code_at_any_angle_once(turn: int):
    """Corners within 10 pixels along the code, which is 300 long; across, only a part of the bars may be covered."""
    printed = code("4006381333931", "EAN13", 3)
    image, homography = in_scene(printed, turn=turn, tilt=20, noise=8)
    result = read(Head(SPEC), image)
    assert found(result) == [("ean13", "4006381333931")]
    expected = mapped(homography, printed.symbol)
    along = expected[1] - expected[0]
    along = along / np.hypot(*along)
    for corner, true in zip(result.corners[0], expected):
        assert abs((corner - true) @ along) < 10


def test_upright_bar_codes_alone():
    """In a small image: what is skipped is the search in turned ones."""
    printed = code("ABC-1234567", "Code128", 3)
    upright = Head(SPEC, bars="upright")
    assert found(read(upright, in_scene(printed)[0])) == [("code128", "ABC-1234567")]
    assert found(read(upright, in_scene(printed, turn=45)[0])) == []


def test_a_bar_code_must_be_read_twice(monkeypatch: pytest.MonkeyPatch):
    """Here its own area gives nothing."""
    printed = code("4006381333931", "EAN13", 3)
    monkeypatch.setattr("edge_app.heads._zxing._straightened", lambda image, corners: np.full((9, 99), 128, np.uint8))
    assert found(read(Head(SPEC), in_scene(printed)[0])) == []


@pytest.mark.parametrize("engine", ["zxing", "opencv"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_corners_start_at_the_upper_left_one_of_the_code(engine: str, turn: int):
    """Tolerance: a module, 4 pixels, in each of x and y."""
    printed = code("hello", "QRCode", 4)
    image, homography = in_scene(printed, turn=turn, tilt=20)
    result = read(Head(SPEC, engine=engine), image)
    assert found(result) == [("qr", "hello")]
    expected = mapped(homography, printed.symbol)
    np.testing.assert_allclose(result.corners[0], expected, atol=4)
    np.testing.assert_allclose(result.xyxy[0, :2], result.corners[0].min(axis=0), atol=1e-3)
    np.testing.assert_allclose(result.xyxy[0, 2:], result.corners[0].max(axis=0), atol=1e-3)


def test_opencv_reads_a_bar_code_with_corners_in_the_order_of_reading():
    image = np.pad(code("4006381333931", "EAN13", 3).image, 300, constant_values=255)
    result = read(Head(SPEC, engine="opencv"), image)
    assert found(result) == [("ean13", "4006381333931")]
    left_up, right_up, right_low, left_low = result.corners[0]
    assert left_up[0] < right_up[0]
    assert left_low[0] < right_low[0]
    assert left_up[1] < left_low[1]
    assert right_up[1] < right_low[1]


def test_a_upc_a_code_is_an_ean13_with_a_leading_0():
    image, _ = in_scene(code("012345678905", "UPCA", 3))
    assert found(read(Head(SPEC, kinds=("ean13",)), image)) == [("ean13", "0012345678905")]


def test_kinds_limits_what_is_read():
    image, _ = in_scene(code("x", "QRCode", 4))
    assert found(read(Head(SPEC, kinds=("ean13", "aztec")), image)) == []


@pytest.mark.parametrize("engine", ["zxing", "opencv"])
def test_several_codes_are_listed_from_left_to_right(engine: str):
    printed = [in_scene(code(text, "QRCode", 4))[0] for text in ("left", "right")]
    head = Head(SPEC, engine=engine)
    assert [text for _, text in found(read(head, np.hstack(printed)))] == ["left", "right"]
    assert [text for _, text in found(read(Head(SPEC, engine=engine, max_detections=1), np.hstack(printed)))] == [
        "left"
    ]


@pytest.mark.parametrize("engine", ["zxing", "opencv"])
def test_an_undecodable_code_is_not_reported(engine: str):
    """Half of the data modules are covered; the three finder patterns are visible."""
    printed = code("a longer text, so that error correction cannot repair it", "QRCode", 4)
    image = printed.image.copy()
    low, high = printed.symbol[0].astype(int), printed.symbol[2].astype(int)
    image[low[1] + 40 : high[1] - 40, low[0] + 40 : high[0]] = 128
    assert len(read(Head(SPEC, engine=engine), in_scene(printed.with_image(image))[0])) == 0


@pytest.mark.parametrize("engine", ["zxing", "opencv"])
@pytest.mark.parametrize("image", [np.zeros((1, 1), np.uint8), np.full((48, 64), 128, np.uint8)])
def test_an_image_without_a_code_has_no_detections(engine: str, image: np.ndarray):
    result = read(Head(SPEC, engine=engine), image)
    assert len(result) == 0
    assert result.xyxy.shape == (0, 4)


@pytest.mark.parametrize("text", ["a\x1b[31mb\x00\x1d\x7f", "3" * 4000, "\u202eevil\u200b", "<script>"])
def test_hostile_content_is_published_without_control_characters_and_cut(text: str):
    image, _ = in_scene(code(text, "QRCode", 3))
    ((kind, shown),) = found(read(Head(SPEC), image))
    assert kind == "qr"
    assert shown.isprintable()
    assert len(shown) <= 1024


def test_zxing_is_used_if_installed_and_opencv_otherwise(monkeypatch: pytest.MonkeyPatch):
    image, _ = in_scene(code("dm", "DataMatrix", 4))
    assert found(read(Head(SPEC), image)) == [("data_matrix", "dm")]
    monkeypatch.setattr("edge_app.heads.codes.find_spec", lambda name: None)
    assert found(read(Head(SPEC), image)) == []


def test_a_missing_zxing_names_the_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "zxingcpp", None)
    with pytest.raises(
        ConfigError, match=r"^heads 'codes' needs the library zxingcpp; expected: .*zxing-cpp|extra codes"
    ):
        registry.build("heads", "codes", SPEC, engine="zxing")


def test_opencv_lacks_kinds():
    with pytest.raises(
        ConfigError, match=r"heads\.codes\.kinds: found aztec, which OpenCV does not read; expected some"
    ):
        Head(SPEC, kinds=("qr", "aztec"), engine="opencv")


@pytest.mark.parametrize(("version", "lacks"), [("4.6.0", "found OpenCV 4.6.0;"), ("4.10.0", "without barcode;")])
def test_an_old_opencv_is_one_line(monkeypatch: pytest.MonkeyPatch, version: str, lacks: str):
    attributes = {name: getattr(cv2, name) for name in ("QRCodeDetector",)}
    monkeypatch.setitem(__import__("sys").modules, "cv2", SimpleNamespace(__version__=version, **attributes))
    with pytest.raises(ConfigError) as caught:
        Head(SPEC, engine="opencv")
    assert lacks in str(caught.value)
    assert "expected OpenCV 4.8 or later" in str(caught.value)
    assert "\n" not in str(caught.value)


SHARED = ("qr", "micro_qr", "data_matrix", "aztec", "ean13", "ean8", "code128", "code39")


def random_content(kind: str, rng: np.random.Generator) -> str:
    """Content that a kind can hold, with its check digit."""
    if kind in ("ean13", "ean8"):
        data = rng.integers(0, 10, int(kind[3:]) - 1)
        weights = np.where(np.arange(len(data))[::-1] % 2, 1, 3)
        return "".join(map(str, [*data, -(data @ weights) % 10]))
    if kind == "micro_qr":
        return "".join(map(str, rng.integers(0, 10, 6)))
    return "".join(rng.choice(list("ABCDEFGHIJ0123456789"), 12))


@pytest.mark.long
@pytest.mark.parametrize("engine", ["zxing", "opencv"])
def test_small_tilted_noisy_codes(engine: str, capsys: pytest.CaptureFixture):
    """Modules of 3 and 4 pixels, turned at random, tilted up to 40 degrees, blurred, noise of 8 gray levels."""
    head, total, right, wrong = Head(SPEC, engine=engine), 0, 0, 0
    for kind in SHARED if engine == "zxing" else ("qr", "ean13", "ean8"):
        rng, of_kind = np.random.default_rng(1), 0
        for i in range(50):
            text = random_content(kind, rng)
            turn, toward, tilt = rng.uniform(0, 360), rng.uniform(0, 360), rng.uniform(0, 40)
            printed = code(text, CONTENT[kind][0], 3 + i % 2)
            texts = read(head, in_scene(printed, turn=turn, toward=toward, tilt=tilt, noise=8, seed=i)[0]).texts or ()
            of_kind += text in texts
            wrong += sum(each != text for each in texts)
        total, right = total + 50, right + of_kind
        with capsys.disabled():
            print(f"\n{engine} {kind}: {of_kind} of 50", end="")
    with capsys.disabled():
        print(f"\n{engine}: {right} of {total} read, {wrong} wrong texts")
    assert wrong == 0
    assert right >= (0.95 if engine == "zxing" else 0.7) * total
