"""The stamps of an RTSP camera: every rate and codec, with frames that carry their number as pixels.

Debian package: ffmpeg, which encodes the frames.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time

import pytest

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import SystemClock
from tests.sources import rtsp_camera

RATES = (0.5, 1, 2, 5, 10, 12, 15, 25)
SETTLED_S = 10.0
NETWORK_S = 0.25  # on a machine under load
SYSTEM = (("h264", 5), ("h264-b", 10))
LONG = tuple(each for each in itertools.product(rtsp_camera.CODECS, RATES) if each not in SYSTEM)


@pytest.fixture(autouse=True)
def package():
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the Debian package ffmpeg")


def read_numbered(running, seconds):
    """Frames for `seconds` after the first one: their number, captured_ns, utc_ns, sequence."""
    frames, end_s = [], time.monotonic() + 60.0
    while time.monotonic() < end_s:
        frame = running.read(0.5)
        if frame is None:
            continue
        if not frames:
            end_s = time.monotonic() + seconds
        frames.append((rtsp_camera.number_of(frame.pixels), frame.captured_ns, frame.utc_ns, frame.sequence))
    return frames


def check(codec, fps, tmp_path):
    seconds = SETTLED_S + max(3.0, 3 / fps)
    recording = rtsp_camera.record(codec, fps, int((seconds + 10) * fps) + 16, tmp_path)
    with rtsp_camera.Camera(recording) as camera:
        options = {"url": f"rtsp://127.0.0.1:{camera.port}/x"}
        source = config.SourceConfig(config.SourceCommon("rtsp", connect="retry"), config.PluginConfig("rtsp", options))
        with Capture(source, SystemClock(), backoff=Backoff(0.2, 1.0), rng=random.Random(0)) as running:
            frames = read_numbered(running, seconds)
            stats = running.stats()
        assert (stats.failures, stats.reconnects, camera.connections) == (0, 0, 1), stats
        first_ns = frames[0][1]
        settled = [frame for frame in frames if frame[1] - first_ns > SETTLED_S * 1e9]
        assert settled
        for number, captured_ns, *_ in settled:
            assert abs(captured_ns - camera.captured_ns(number)) * 1e-9 <= 1.5 / fps + NETWORK_S, number
        for before, after in itertools.pairwise(frames):
            assert all(b > a for a, b in zip(before, after, strict=True))


@pytest.mark.system
@pytest.mark.alone
@pytest.mark.parametrize(("codec", "fps"), SYSTEM)
def test_a_stamp_is_right_after_ten_seconds(codec, fps, tmp_path):
    check(codec, fps, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("codec", "fps"), LONG)
def test_a_stamp_is_right_after_ten_seconds_for_every_codec_and_rate(codec, fps, tmp_path):
    check(codec, fps, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("step_s", [-60.0, -1.0, 1.0, 60.0])
def test_a_step_of_the_cameras_clock_causes_no_reconnect_and_no_falling_stamp(step_s, tmp_path):
    recording = rtsp_camera.record("h264", 10, 250, tmp_path)
    with rtsp_camera.Camera(recording, step_at=60, step_s=step_s) as camera:
        source = config.PluginConfig("rtsp", {"url": f"rtsp://127.0.0.1:{camera.port}/x"})
        with Capture(config.SourceConfig(config.SourceCommon("rtsp"), source), SystemClock()) as running:
            frames = read_numbered(running, 18.0)
            assert running.stats().failures == 0
        number, captured_ns, *_ = frames[-1]
        assert abs(captured_ns - camera.captured_ns(number)) * 1e-9 <= 0.15 + NETWORK_S
        assert all(b[1] > a[1] and b[2] > a[2] for a, b in itertools.pairwise(frames))
