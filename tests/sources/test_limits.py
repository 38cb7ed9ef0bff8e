"""_limits: the size of an image from its header, and the largest that is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.clock import ClipClock
from edge_app.errors import ClipError
from edge_app.sources._limits import declared_size, max_pixels
from edge_app.sources.images import Source
from edge_app.sources.video import Source as VideoSource
from tests.conftest import resident_bytes

MB = 10**6


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".png", ".webp"])
@pytest.mark.parametrize("size", [(1, 1), (37, 20), (1000, 3)])
def test_reads_the_size_that_opencv_decodes(suffix, size):
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for parameters in ([], [cv2.IMWRITE_WEBP_QUALITY, 101]) if suffix == ".webp" else ([],):
        data = cv2.imencode(suffix, picture, parameters)[1].tobytes()
        assert declared_size(data) == size


def test_reads_the_canvas_of_an_extended_webp():
    header = b"VP8X" + struct.pack("<IB3x", 10, 0) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
    assert declared_size(b"RIFF" + struct.pack("<I", 100) + b"WEBP" + header) == (640, 480)


def test_reads_the_size_after_metadata_of_a_jpeg():
    data = cv2.imencode(".jpg", np.zeros((20, 37, 3), np.uint8))[1].tobytes()
    exif = b"\xff\xe1" + struct.pack(">H", 5002) + b"\xff\xc0" * 2500
    assert declared_size(data[:2] + exif + b"\xff\xff" + data[3:]) == (37, 20)


@given(
    st.binary(max_size=64),
    st.sampled_from(
        [b"", b"\xff\xd8", b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF\0\0\0\0WEBPVP8"]
    ),
)
def test_arbitrary_bytes_never_raise(tail, start):
    size = declared_size(start + tail)
    assert size is None or len(size) == 2


def test_every_prefix_of_an_image_has_its_size_or_none():
    for suffix in (".bmp", ".jpg", ".png", ".webp"):
        data = cv2.imencode(suffix, np.zeros((20, 37, 3), np.uint8))[1].tobytes()
        assert {declared_size(data[:n]) for n in range(len(data))} <= {None, (37, 20)}


def test_the_limit_depends_on_the_memory():
    assert max_pixels(8 << 30) == 64 * MB
    assert max_pixels(56_348 * 1024) == pytest.approx(6.4 * MB, rel=0.01)  # a board with 64 MB
    assert max_pixels(34 << 20) > 2304 * 1296, "a camera with 3 megapixels on the smallest board"


def png(width: int, height: int) -> bytes:
    """A valid PNG of one color, a bit per pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def peak_bytes(function) -> int:
    """How much memory a call takes at its peak, beyond what the process has before it."""
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    function()
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024 - before


def test_a_small_file_with_many_pixels_is_rejected_without_decoding(tmp_path):
    data = png(20_000, 20_000)
    assert len(data) < 100_000
    (tmp_path / "bomb.png").write_bytes(data)
    source = Source(ClipClock(), path=tmp_path, pace="fast")

    def read():
        with pytest.raises(ClipError, match=r"bomb.png: has 20000 x 20000 pixels; expected at most [0-9.]+ million"):
            source.read(1.0)

    assert peak_bytes(read) < 30 * MB


def test_a_format_that_is_not_listed_is_rejected(tmp_path):
    """OpenCV decodes by content, whatever the name. A header that cannot be checked is not decoded."""
    (tmp_path / "a.png").write_bytes(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(ClipError, match=r"expected an image \(BMP, JPEG, PNG or WebP\)"):
        Source(ClipClock(), path=tmp_path, pace="fast").read(1.0)


def test_a_video_with_frames_that_are_too_large_is_rejected_without_decoding(tmp_path):
    path, container, jpeg = tmp_path / "large.avi", "<II", ">HH"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    data = path.read_bytes()
    for form in (container, jpeg):
        data = data.replace(struct.pack(form, 64, 64), struct.pack(form, 16_000, 16_000))
    path.write_bytes(data)

    def read():
        with pytest.raises(ClipError, match=r"large.avi: has 16000 x 16000 pixels; expected at most [0-9.]+ million"):
            VideoSource(ClipClock(), path=path, pace="fast").read(1.0)

    assert peak_bytes(read) < 50 * MB
