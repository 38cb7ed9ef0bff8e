"""images: a folder of images as a source, and its errors."""

import cv2
import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.config.plugins import from_url
from edge_app.errors import ClipError, EndOfClip
from edge_app.sources.images import Source, decode


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(["b.png", "a.bmp", "c.JPG", "d.webp"]):
        image = np.full((10 + 2 * i, 20, 3), 40 * i + 20, np.uint8)
        good, data = cv2.imencode(name[1:].lower(), image)
        assert good
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "e.png").mkdir()
    return tmp_path


def read_all(source):
    frames = []
    try:
        while True:
            frames.append(source.read(1.0))
    except EndOfClip:
        return frames


def test_images_are_sorted_by_name_and_stamped_by_the_rate(folder):
    frames = read_all(Source(ClipClock(7), path=folder, fps=2, pace="fast"))
    assert [f.height for f in frames] == [12, 10, 14, 16]  # a b c d
    assert [round(float(f.image.mean()), -1) for f in frames] == [60, 20, 100, 140]
    assert [f.captured_ns for f in frames] == [7, 500_000_007, 1_000_000_007, 1_500_000_007]
    assert [f.sequence for f in frames] == [0, 1, 2, 3]


def test_timestamps_continue_when_the_loop_restarts(folder):
    source = Source(ClipClock(), path=folder, fps=1, pace="fast", loop=True)
    frames = [source.read(1.0) for _ in range(6)]
    assert [f.height for f in frames] == [12, 10, 14, 16, 12, 10]
    assert [f.captured_ns for f in frames] == [i * 10**9 for i in range(6)]


def report_of(folder, content, caplog):
    (folder / "b2.png").write_bytes(content)
    caplog.clear()
    source = Source(ClipClock(), path=folder, pace="fast")
    frames = read_all(source)
    assert [frame.height for frame in frames] == [12, 10, 14, 16]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3]
    assert [frame.captured_ns // 10**8 for frame in frames] == [0, 1, 3, 4]
    assert source.missing == 1
    assert caplog.messages[1] == f"{folder}: images that could not be decoded: 1 of 5"
    return caplog.messages[0]


def test_a_damaged_image_of_a_folder_is_reported_and_skipped(folder, capfd, caplog):
    whole = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes()
    found = [
        report_of(folder, data, caplog) for data in (b"", b"hello", whole[: len(whole) // 2], jpeg[: len(jpeg) // 2])
    ]
    assert [message.split(": ", 1)[1] for message in found] == [
        "is empty (0 bytes); expected an image; skipped",
        "cannot be decoded, 5 bytes; expected an image (BMP, JPEG, PNG or WebP); skipped",
        f"is truncated: a PNG of {len(whole) // 2} bytes without its end marker; expected a complete image; skipped",
        f"is truncated: a JPEG of {len(jpeg) // 2} bytes without its end marker; expected a complete image; skipped",
    ]
    assert all(message.startswith(str(folder / "b2.png")) for message in found)
    assert capfd.readouterr().err == ""


def test_the_constructor_rejects_an_unusable_folder(tmp_path):
    (tmp_path / "file").touch()
    none, file = tmp_path / "none", tmp_path / "file"
    for path, found in ((none, "no such folder"), (file, "is a file"), (tmp_path, "contains no image")):
        with pytest.raises(ClipError, match=f"{path}: {found}.*expected a folder of images"):
            Source(ClipClock(), path=path)


def test_a_folder_without_a_usable_image_is_an_error(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ClipError, match="none of its 2 images can be decoded"):
        Source(ClipClock(), path=tmp_path, pace="fast", loop=True).read(1.0)


def test_images_are_in_natural_order_without_hidden_files(tmp_path):
    names = ["10.png", "2.png", "1.png", "img12b3.png", "img12b20.png", "img9.png"]
    for height, name in enumerate(names, 10):
        (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((height, 8, 3), np.uint8))[1].tobytes())
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7resource fork")
    heights = [frame.height for frame in read_all(Source(ClipClock(), path=tmp_path, pace="fast"))]
    assert [names[height - 10] for height in heights] == [
        "1.png", "2.png", "10.png", "img9.png", "img12b3.png", "img12b20.png",
    ]  # fmt: skip


ORIENTATION_6 = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


@pytest.mark.parametrize("name", ["one.jpg", "one.PNG"])
def test_a_single_image_is_a_clip_of_one_frame(tmp_path, name):
    data = cv2.imencode(name[3:].lower(), np.full((20, 40, 3), 90, np.uint8))[1].tobytes()
    turned = name.endswith("jpg")
    (tmp_path / name).write_bytes(data[:2] + ORIENTATION_6 + data[2:] if turned else data)
    frames = read_all(Source(ClipClock(), path=tmp_path / name, pace="fast"))
    assert [(f.width, f.height) for f in frames] == [(20, 40) if turned else (40, 20)]
    assert from_url(str(tmp_path / name)).plugin.type == "images"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_with_a_long_trailer_is_complete_but_not_without_its_own_end(tmp_path, suffix):
    """A Motion Photo is a JPEG followed by an MP4. Its thumbnail has an end marker of its own."""
    data = cv2.imencode(suffix, np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))[1].tobytes()
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    if suffix == ".jpg":
        data = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data + b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(50_000))
    assert decode(path).shape == (40, 60, 3)
    path.write_bytes(data[: len(data) - 200])
    with pytest.raises(ClipError, match="is truncated"):
        decode(path)
