"""Images at a constant rate: a clip runs as fast as the time."""

from __future__ import annotations

import pytest

from edge_app.clips.jpeg import Still
from edge_app.clips.timeline import at_constant_rate
from tests.clips.video import SECOND


def stills(*at_s: float) -> list[Still]:
    return [Still(round(s * SECOND), 0, (2, 2), b"") for s in at_s]


def shown(at_s: list[float], fps: float) -> tuple[float, list[float]]:
    rate, found = at_constant_rate(stills(*at_s), fps)
    return rate, [still.captured_ns / SECOND for still in found]


def test_regular_images_are_shown_once_each():
    at_s = [i / 5 for i in range(11)]
    assert shown(at_s, 5) == (5.0, at_s)


def test_a_slower_camera_gives_a_slower_rate():
    at_s = [i / 2 for i in range(9)]
    assert shown(at_s, 5) == (2.0, at_s)


def test_a_gap_shows_the_image_before_it():
    rate, found = shown([0, 0.2, 0.4, 4.4, 4.6, 4.8], 5)
    assert len(found) == pytest.approx(4.8 * rate + 1, abs=1)
    assert found.count(0.4) >= 3, "most of the four seconds"
    assert found[-1] == 4.8


@pytest.mark.parametrize("at_s", [[3.0], [3.0, 3.0]])
def test_images_without_a_duration_are_one_frame(at_s):
    assert shown(at_s, 5) == (5, [3.0])
