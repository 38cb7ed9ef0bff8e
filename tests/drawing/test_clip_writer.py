"""ClipWriter: every frame is written, in a format that browsers play."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.drawing.clip_writer import ClipWriter
from edge_app.errors import SinkError
from edge_app.frame import Frame

BROWSER_CODECS = {".webm": ("VP80", "VP90"), ".mp4": ("avc1", "h264", "VP90")}


def write(path: Path, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Write white frames of these widths and heights, 5 per second. Returns what the file has."""
    writer = ClipWriter(path, {})
    for i, (width, height) in enumerate(sizes):
        writer.write(Frame("t", i, i * 200_000_000, 0, np.full((height, width, 3), 255, np.uint8)))
    writer.close()
    capture = cv2.VideoCapture(str(path))
    images = []
    while (read := capture.read())[0]:
        images.append(np.asarray(read[1]))
    return images


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_the_codec_is_one_that_browsers_play(tmp_path: Path, suffix: str):
    path = tmp_path / f"out{suffix}"
    assert len(write(path, [(64, 48)] * 5)) == 5
    capture = cv2.VideoCapture(str(path))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert code in BROWSER_CODECS[suffix]
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5, rel=0.01)


def test_every_frame_is_written_whatever_its_size(tmp_path: Path):
    sizes = [(81, 61), (64, 48), (200, 50), (30, 300), (1, 1), (81, 61), (82, 62)]
    images = write(tmp_path / "out.webm", sizes)
    assert [image.shape[:2] for image in images] == [(62, 82)] * len(sizes)
    for (width, height), image in zip(sizes, images):
        scale = min(82 / width, 62 / height)
        expected = width * scale * height * scale / (82 * 62)
        assert image.mean() / 255 == pytest.approx(expected, abs=0.06)


def test_a_clip_of_one_frame_is_a_clip(tmp_path: Path):
    assert len(write(tmp_path / "out.avi", [(8, 6)])) == 1


def test_rejects_a_missing_folder_before_the_first_frame(tmp_path: Path):
    with pytest.raises(SinkError, match="does not exist"):
        ClipWriter(tmp_path / "no" / "x.mp4", {})


def test_rejects_an_unknown_ending_before_the_first_frame(tmp_path: Path):
    with pytest.raises(SinkError, match=r"found the ending '\.gif'; expected \.mp4"):
        ClipWriter(tmp_path / "x.gif", {})


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "x.avi").mkdir()
    with pytest.raises(SinkError, match="cannot be written as a video"):
        write(tmp_path / "x.avi", [(8, 6)])
