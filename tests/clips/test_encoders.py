"""The encoders of this machine, with real pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_app.clips import encoders
from edge_app.clips.encoders import EncodeError, available
from edge_app.clips.jpeg import Compressor
from tests.clips.video import frame, levels

IMAGES = [Compressor(160, 80, 10**6).compress(frame(i, 5, width=160, height=120)).jpeg for i in range(15)]
LIMITS = {"max_bytes": 10**7, "timeout_s": 60.0}


@pytest.mark.parametrize("encoder", available(), ids=lambda encoder: encoder.name)
def test_every_picture_is_in_the_file_at_its_rate(encoder, tmp_path):
    path = tmp_path / f"clip{encoder.suffix}"
    encoders.run(encoder, IMAGES, 4.5, path, **LIMITS)
    rate, found = levels(path)
    assert rate == pytest.approx(4.5, rel=0.01)
    assert len(found) == 15
    assert all(abs(level - 8 * i) <= 6 for i, level in enumerate(found)), found


@pytest.mark.parametrize("encoder", available(), ids=lambda encoder: encoder.name)
def test_what_is_no_image_is_one_line(encoder, tmp_path):
    path = tmp_path / f"clip{encoder.suffix}"
    with pytest.raises(EncodeError, match=encoder.name) as caught:
        encoders.run(encoder, [b"this is text"] * 3, 5.0, path, **LIMITS)
    assert "\n" not in str(caught.value)


def test_opencv_is_the_last_resort_and_h264_comes_first(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: object())
    assert [(e.name, e.suffix) for e in available()] == [("PyAV", ".mp4"), ("ffmpeg", ".mp4"), ("OpenCV", ".webm")]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    assert [e.name for e in available()] == ["OpenCV"]


def test_the_encoding_process_imports_neither_the_pipeline_nor_numpy():
    """With PyAV it needs none of them, and starts in a tenth of a second."""
    script = "import sys, edge_app.clips.encode; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "yaml", "edge_app.config"} & set(done.stdout.split())


def test_a_file_in_a_folder_that_does_not_exist_is_one_line(tmp_path: Path):
    opencv = available()[-1]
    with pytest.raises(EncodeError, match="OpenCV"):
        encoders.run(opencv, IMAGES, 5.0, tmp_path / "none" / "clip.webm", **LIMITS)


def test_opencv_narrows_wide_pictures_because_its_preset_is_slow(tmp_path: Path):
    images = [Compressor(800, 80, 10**6).compress(frame(i, 5, width=800, height=450)).jpeg for i in range(3)]
    opencv = available()[-1]
    encoders.run(opencv, images, 5.0, tmp_path / "clip.webm", **LIMITS)
    capture = cv2.VideoCapture(str(tmp_path / "clip.webm"))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (384, 216)
    capture.release()
