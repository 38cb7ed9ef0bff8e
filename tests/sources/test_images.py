"""images: a folder of images as a source, and its errors."""

import cv2
import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.errors import ClipError, EndOfClip
from edge_app.sources.images import Source


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


def error_of_picture(folder, content):
    (folder / "b2.png").write_bytes(content)
    source = Source(ClipClock(), path=folder, pace="fast")
    assert [source.read(1.0).height for _ in range(2)] == [12, 10]
    with pytest.raises(ClipError) as caught:
        source.read(1.0)
    return str(caught.value)


def test_a_broken_image_is_an_error_with_its_path(folder, capfd):
    whole = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes()
    found = [
        error_of_picture(folder, data) for data in (b"", b"hello", whole[: len(whole) // 2], jpeg[: len(jpeg) // 2])
    ]
    assert [message.split(": ", 1)[1] for message in found] == [
        "is empty (0 bytes); expected an image",
        "cannot be decoded, 5 bytes; expected an image (BMP, JPEG, PNG or WebP)",
        f"is truncated: a PNG of {len(whole) // 2} bytes without its end marker; expected a complete image",
        f"is truncated: a JPEG of {len(jpeg) // 2} bytes without its end marker; expected a complete image",
    ]
    assert all(message.startswith(str(folder / "b2.png")) for message in found)
    assert capfd.readouterr().err == ""


def test_the_constructor_rejects_an_unusable_folder(tmp_path):
    (tmp_path / "file").touch()
    none, file = tmp_path / "none", tmp_path / "file"
    for path, found in ((none, "no such folder"), (file, "is a file"), (tmp_path, "contains no image")):
        with pytest.raises(ClipError, match=f"{path}: {found}.*expected a folder of images"):
            Source(ClipClock(), path=path)
