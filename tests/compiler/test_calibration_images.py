"""Images to calibrate with are read as those of a source: bounded, and with an error of one line."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from edge_app.compiler import calibration_images
from edge_app.errors import ConfigError
from edge_app.model.schema import Input
from edge_app.sources import _limits

SPEC = Input(32, 32)


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_reads_a_folder_evenly(tmp_path):
    for n in range(6):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((40, 40, 3), 40 * n, np.uint8))
    read = calibration_images.load(tmp_path, SPEC, 2, 1)
    assert [int(pixels.mean()) for pixels in read.pixels] == [0, 80, 200]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            png(20_000, 20_000) + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")),
            "has 20000 x 20000 pixels; expected at most",
        ),
        (b"", "is empty"),
        (b"no image", "expected an image"),
    ],
)
def test_rejects_an_image_that_is_too_large_or_not_one(tmp_path, data, expected):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ConfigError, match=expected) as caught:
        calibration_images.load(tmp_path, SPEC, 1, 1)
    assert str(caught.value).startswith(f"--calibrate {tmp_path}/a.png: ")


def test_rejects_a_clip_of_too_large_frames(tmp_path, monkeypatch):
    clip = str(tmp_path / "a.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    monkeypatch.setattr(_limits, "_MAX_PIXELS", 1000)
    with pytest.raises(ConfigError, match=r"a\.avi: has 64 x 48 pixels; expected at most"):
        calibration_images.load(tmp_path / "a.avi", SPEC, 1, 1)
