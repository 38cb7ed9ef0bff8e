"""Frames as JPEG within a budget."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.clips.jpeg import Compressor, even_size
from edge_app.frame import Frame
from tests.clips.video import frame


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1920, 1080, 640), (640, 360)),
        ((768, 576, 640), (640, 480)),
        ((321, 241, 640), (320, 240)),
        ((2, 1, 64), (2, 2)),
    ],
)
def test_the_size_is_even_and_not_enlarged(given, expected):
    assert even_size(*given) == expected


def test_an_nv12_frame_becomes_a_jpeg_of_the_same_picture():
    pixels = np.full((360, 320), 128, np.uint8)
    pixels[:240] = 200
    still = Compressor(160, 80, 10**6).compress(Frame("cam", 0, 5, 6, pixels, "nv12"))
    image = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert (still.captured_ns, still.utc_ns, still.size) == (5, 6, (160, 120))
    assert image.shape == (120, 160, 3)
    assert abs(int(image.mean()) - round((200 - 16) * 255 / 219)) <= 2


def test_the_quality_falls_while_images_exceed_the_budget_and_rises_again():
    rng = np.random.default_rng(0)
    noise = Frame("cam", 0, 0, 0, rng.integers(0, 256, (240, 320, 3), dtype=np.uint8))
    compressor = Compressor(320, 80, 30_000)
    sizes = [len(compressor.compress(noise).jpeg) for _ in range(20)]
    assert sizes[0] > 30_000 >= sizes[-1]
    lowest = compressor.quality
    for i in range(30):
        compressor.compress(frame(i))
    assert lowest < compressor.quality <= 80
