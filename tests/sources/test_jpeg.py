"""_jpeg: complete and incomplete images."""

import time

import cv2
import numpy as np
import pytest

from edge_app.sources._jpeg import is_complete

NOISE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
RESTART, PROGRESSIVE = [cv2.IMWRITE_JPEG_RST_INTERVAL, 2], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


@pytest.mark.parametrize("options", [[], RESTART, PROGRESSIVE], ids=["plain", "restart markers", "progressive"])
def test_an_image_is_complete_only_with_its_end_marker(options):
    data = cv2.imencode(".jpg", NOISE, options)[1].tobytes()
    for trailer in (b"", bytes(5000), b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(3000)):
        assert is_complete(data + trailer)
        assert is_complete(memoryview(data + trailer))
    for cut in (1, 2, 3, 10, len(data) // 2, len(data) - 30, len(data) - 2):
        assert not is_complete(data[:-cut])
        assert not is_complete(data[:-cut] + bytes(100))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xda", b"\x89PNG\xff\xd9", b"\xff\xd8" * 99])
def test_other_data_is_no_complete_image(data):
    assert not is_complete(data)


def test_hostile_data_takes_bounded_time():
    began_s = time.monotonic()
    assert not is_complete(b"\xff\xd8" + b"\xff\xda\0\2" * 300_000)
    assert not is_complete(b"\xff\xd8" + b"\xff" * 1_000_000)
    assert time.monotonic() - began_s < 5
