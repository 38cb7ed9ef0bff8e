"""Damaged clips and pictures: as many frames as ffmpeg decodes; annotated clips play in Chromium.

Debian packages: ffmpeg, chromium.
"""

from __future__ import annotations

import asyncio
import base64
import random
import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.drawing.clip_writer import ClipWriter
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame
from edge_app.sources.images import Source as Images
from edge_app.sources.video import Source
from tests.sources.damage import KINDS, damaged

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the Debian package ffmpeg"),
]

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "10")
MJPEG = ("-c:v", "mjpeg", "-q:v", "4")
CLIPS = {
    "mjpeg.avi": MJPEG,
    "mjpeg.mkv": MJPEG,
    "h264.mp4": H264,
    "h264.mkv": H264,
    "h264.ts": H264,
    "h264.h264": H264,
    "mjpeg.mjpeg": MJPEG,
    "mpeg4.mp4": ("-c:v", "mpeg4", "-q:v", "4"),
}
SHARE = 0.95  # of the frames that ffmpeg decodes
HANG_S = 60


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    picture = ("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10:duration=3")
    for name, codec in CLIPS.items():
        subprocess.run(["ffmpeg", "-v", "error", *picture, *codec, folder / name], check=True)
    return folder


def by_ffmpeg(path: Path) -> int:
    command = ["ffmpeg", "-v", "quiet", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False).stdout.splitlines()
    return sum(not line.startswith("#") for line in lines)


def by_source(path: Path) -> int:
    """Frames that `video` delivers; their times increase."""
    end_s, frames, last_ns = time.monotonic() + HANG_S, 0, -1
    source = Source(ClipClock(), path=path, pace="fast")
    try:
        while time.monotonic() < end_s:
            frame = source.read(1.0)
            if frame is not None:
                assert frame.captured_ns > last_ns
                frames, last_ns = frames + 1, frame.captured_ns
    except (EndOfClip, ClipError):
        return frames
    finally:
        source.close()
    raise AssertionError(f"{path.name}: hangs")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLIPS)
def test_a_damaged_clip_gives_the_frames_that_ffmpeg_decodes(clips: Path, tmp_path: Path, name: str, kind: str):
    path = tmp_path / name
    path.write_bytes(damaged((clips / name).read_bytes(), kind, random.Random(f"{name} {kind}")))
    expected, found = by_ffmpeg(path), by_source(path)
    print(f"{name} {kind}: {found} of {expected}")
    assert found >= SHARE * expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_damaged_picture_never_ends_a_folder(tmp_path: Path, suffix: str, kind: str):
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    whole = cv2.imencode(suffix, image)[1].tobytes()
    for index in range(3):
        (tmp_path / f"{index}{suffix}").write_bytes(whole)
    (tmp_path / f"1{suffix}").write_bytes(damaged(whole, kind, random.Random(f"{suffix} {kind}")))
    source = Images(ClipClock(), path=tmp_path, pace="fast")
    frames = []
    with pytest.raises(EndOfClip):  # noqa: PT012  until its end
        while True:
            frames.append(source.read(1.0))
    assert len(frames) + source.missing == 3
    if kind in ("appended", "joined"):
        assert source.missing == 0
    if kind == "cut":
        assert source.missing == 1


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium")
@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_chromium_plays_an_annotated_clip(tmp_path: Path, suffix: str):
    pytest.importorskip("aiohttp", reason="needs the extra web")
    from tests.system.browser import Browser

    writer = ClipWriter(tmp_path / f"out{suffix}", {})
    for index in range(10):
        pixels = np.full((120, 160, 3), (0, 0, 255), np.uint8)
        writer.write(Frame("t", index, index * 100_000_000, 0, pixels))
    writer.close()
    data = base64.b64encode((tmp_path / f"out{suffix}").read_bytes()).decode()  # a file would taint the canvas
    tag = f"<video id=v muted autoplay src='data:video/{suffix[1:]};base64,{data}'></video>"
    (tmp_path / "page.html").write_text(tag, encoding="ascii")

    async def play() -> list[float]:
        async with Browser((tmp_path / "page.html").as_uri(), 400, 300) as page:
            await page.until("document.getElementById('v').ended")
            script = """(() => {
                const v = document.getElementById('v'), c = document.createElement('canvas').getContext('2d');
                c.drawImage(v, 0, 0);
                return [v.videoWidth, v.videoHeight, v.duration, c.getImageData(80, 60, 1, 1).data[0]];
            })()"""
            return list(await page.run(script))

    width, height, duration_s, red = asyncio.run(play())
    assert (width, height) == (160, 120)
    assert duration_s == pytest.approx(1.0, abs=0.15)
    assert red > 200
