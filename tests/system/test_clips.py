"""Event clips on a real clip with a real model: they begin early enough, play in a browser, and cost little.

vtest.avi of $EDGE_APP_DATA at 10 frames a second with NanoDet-m, one event a minute, beside the same without clips.
Debian packages: chromium, ffmpeg. The full length, 10 minutes, is marked `long`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.clips import encoders
from edge_app.clips.encoders import Encoder, available
from edge_app.clips.folder import ClipFolder
from edge_app.clips.jpeg import Compressor
from edge_app.clips.worker import EncodingWorker, Job
from edge_app.config.clips import ClipsConfig
from edge_app.daemon.status_socket import request_status
from edge_app.frame import Frame
from edge_app.messages import utc_of
from tests.clips.video import frame, levels
from tests.conftest import PROJECT
from tests.running import Running, free_port
from tests.schema import strict

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from tests.system.browser import Browser

pytestmark = pytest.mark.system

MODEL = """format: 1
name: nanodet
input:
  width: 416
  height: 416
  color: bgr
  layout: nchw
  mean: [103.53, 116.28, 123.675]
  std: [57.375, 57.12, 58.395]
  resize: letterbox
heads:
  objects: {family: nanodet, graph: {onnx: nanodet_m.onnx}, labels: coco80}
"""
TEXT = """
device: {id: cam, state_dir: state}
source: {type: video, path: DATA/vtest.avi, pace: realtime, loop: true}
model: {path: model, backend: onnx}
track: {head: objects}
rules: [{name: minute, type: periodic, head: objects, first_s: 8, every_s: 60, late_s: LATE}]
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
clips: {enabled: CLIPS, before_s: 5, after_s: 5}
degrade: {enabled: false}  # the same work on both sides
web: {enabled: true, port: WEB}
"""
BEFORE_S = 5.0
PLAYED = """(async () => {
  const video = document.createElement('video');
  video.muted = true; video.src = 'api/clips/NAME'; document.body.append(video);
  await video.play();
  await new Promise((done) => setTimeout(done, 1500));
  const playing = video.currentTime;
  const seeked = new Promise((done) => { video.onseeked = done; });
  video.currentTime = video.duration - 1;
  await seeked;
  return [video.videoWidth, video.videoHeight, video.duration, playing, video.currentTime];
})()"""


def write(folder: Path, data: Path, clips: bool, port: int) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.yaml").write_text(MODEL, encoding="ascii")
    shutil.copy(data / "nanodet_m.onnx", folder / "model")
    path = folder / "config.yaml"
    text = TEXT.replace("DATA", str(data)).replace("CLIPS", str(clips).lower()).replace("WEB", str(port))
    path.write_text(text.replace("LATE", "1.5"), encoding="utf-8")
    return path


def cpu_s(process: int) -> float:
    """CPU time so far, of all threads and of the processes that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def cost(process: int, state_dir: Path) -> tuple[float, int]:
    """CPU time and processed frames so far."""
    return cpu_s(process), request_status(state_dir)["frames"]


def compare(folder: Path, data: Path, measured_s: float, port: int) -> tuple[dict, list[dict], list[dict]]:
    """Run with and without clips side by side. Returns the figures, the clips and the events."""
    with ExitStack() as stack:
        paths = {on: write(folder / str(on), data, on, port if on else free_port()) for on in (True, False)}
        running = {on: stack.enter_context(Running(path)) for on, path in paths.items()}
        for each in running.values():
            each.wait_for("READY=1")
        before = {on: cost(each.process.pid, each.folder / "state") for on, each in running.items()}
        time.sleep(measured_s)
        after = {on: cost(each.process.pid, each.folder / "state") for on, each in running.items()}
        spent = {on: after[on][0] - before[on][0] for on in after}
        frames = {on: after[on][1] - before[on][1] for on in after}
        on = running[True]
        on.until(lambda: [m for m in on.messages("status") if "clip" in m["status"]], 60)
        statuses = on.messages("status")
        validator = strict()
        for message in (*statuses, *on.messages("event")):
            validator.validate(message)
        clips = [message["status"]["clip"] for message in statuses if "clip" in message["status"]]
        if shutil.which("chromium"):
            asyncio.run(plays(port, clips[-1]["name"], clips[-1]["duration_s"]))
        assert "Traceback" not in on.errors()
        figures = {
            "CPU s, clips off": round(spent[False], 2),
            "CPU s, clips on": round(spent[True], 2),
            "frames, off and on": (frames[False], frames[True]),
            "ratio of CPU s per frame": round(spent[True] / frames[True] * frames[False] / spent[False], 3),
            "clips": len(clips),
            "bytes": [clip["bytes"] for clip in clips],
        }
        return figures, clips, [m for m in on.messages("event") if m["type"] == "new"]


async def plays(port: int, name: str, duration_s: float) -> None:
    async with Browser(f"http://127.0.0.1:{port}/", 1280, 900) as browser:
        found = await browser.call(
            "Runtime.evaluate", expression=PLAYED.replace("NAME", name), awaitPromise=True, returnByValue=True
        )
        width, height, duration, playing, at_s = found["result"]["value"]
        assert (width, height) == (640, 480)
        assert duration == pytest.approx(duration_s, abs=0.5)
        assert playing > 0.5
        assert at_s == pytest.approx(duration - 1, abs=0.3)


def check(figures: dict, clips: list[dict], events: list[dict], most: float) -> None:
    """most: CPU time per frame with clips, by that without."""
    print(f"\n{json.dumps(figures)}")
    starts = {event["event_id"]: utc_of(event["start"]) for event in events}
    earlier_s = [(starts[clip["events"][0]] - utc_of(clip["start"])) * 1e-9 for clip in clips]
    print(f"first frame before the start of the event, s: {[round(s, 2) for s in earlier_s]}")
    assert min(earlier_s) >= BEFORE_S
    assert max(earlier_s) <= BEFORE_S + 0.5
    assert figures["ratio of CPU s per frame"] <= most


@pytest.mark.alone
def test_clips_of_one_event_a_minute(tmp_path, data):
    """A third of a minute with one event: it weighs three times as much as in the figure."""
    check(*compare(tmp_path, data, 18, free_port()), 1.3)


@pytest.mark.alone
@pytest.mark.long
def test_clips_of_one_event_a_minute_for_ten_minutes(tmp_path, data):
    figures, clips, events = compare(tmp_path, data, 600, free_port())
    check(figures, clips, events, 1.1)
    assert figures["clips"] >= 9


def test_pyav_from_its_package_encodes_what_ffmpeg_does(tmp_path):
    """The extra `clips`, in an environment of its own."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin/pip", "install", "-q", "av>=14"], check=True, timeout=300)
    start = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from edge_app.clips.encode import main; main()"
    python = str(environment / "bin/python")
    pyav = Encoder("PyAV", ".mp4", lambda path, rate: [python, "-c", start, "pyav", str(path), f"{rate:g}"])
    images = [Compressor(160, 80, 10**6).compress(frame(i, 5, width=160, height=120)).jpeg for i in range(15)]
    encoders.run(pyav, images, 5.0, tmp_path / "clip.mp4", max_bytes=10**7, timeout_s=60)
    rate, found = levels(tmp_path / "clip.mp4")
    assert (rate, len(found)) == (5, 15)
    assert all(abs(level - 8 * i) <= 6 for i, level in enumerate(found)), found
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays while it loads"


@pytest.mark.parametrize("free", [0, 150_000])
def test_a_disk_that_is_full_or_becomes_full_leaves_no_clip(tmp_path, free):
    """A file system of 1 MB. Needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("this container may not mount")
    rng = np.random.default_rng(0)
    noise = [Frame("cam", i, i, i, rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for i in range(50)]
    stills = [replace(Compressor(320, 90, 10**6).compress(each), captured_ns=i * 10**8) for i, each in enumerate(noise)]
    try:
        with (disk / "other").open("wb", buffering=0) as other, contextlib.suppress(OSError):
            while True:
                other.write(bytes(4096))
        os.truncate(disk / "other", (disk / "other").stat().st_size - free)
        for encoder in available():
            worker = EncodingWorker(ClipFolder(disk / "clips", 10**7), ClipsConfig(fps=10), [encoder])
            worker.submit(Job("door", ("door-1-1",), stills))
            end_s = time.monotonic() + 60
            while not worker.dropped:
                assert time.monotonic() < end_s
                assert not worker.written
                time.sleep(0.02)
            worker.close()
            print(f"\n{encoder.name}: {worker.last_error}")
            assert [path for path in disk.rglob("*") if path.is_file()] == [disk / "other"]
    finally:
        subprocess.run(["umount", disk], check=True)
