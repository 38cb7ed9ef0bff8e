"""One pass of `bench cameras`, run as its own process. Prints a `Sample` as JSON.

    python -m edge_app.bench.camera_pass CLIP MODEL COUNT SECONDS THREADS FAULT

FAULT: `none`: COUNT cameras of the clip, each without pauses. Another one: COUNT - 1 cameras of the clip in real
time, and one that is `well` or `hangs`, `floods` or `dies`. `decoders`: only COUNT decoders, without a model.
Not here: comparing the passes (cameras.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import cv2

from edge_app import config, pipeline
from edge_app.bench.cameras import Plan, Sample
from edge_app.daemon import heap, mapped_files
from edge_app.errors import EdgeError, EndOfClip

_WARM_FRAMES = 10  # of each camera
_WARM_S = 60.0
_CLOSE_S = 3.0
_LIVE = "type: synthetic, width: 768, height: 576, live: true"
_FAULTS = {
    "well": f"{{{_LIVE}, fps: 10}}",
    "hangs": f"{{{_LIVE}, fps: 10, hang_at: 30, hang_after_s: 3}}",
    "floods": f"{{{_LIVE}, fps: 200}}",
    "dies": f"{{{_LIVE}, fps: 10, fail_at: 30}}",
}


def run(plan: Plan, count: int, fault: str) -> Sample:
    """Run the cameras, and count their frames for plan.seconds after each has delivered some. Raises EdgeError."""
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(plan, Path(folder), count, fault)
        cameras = pipeline.build_cameras(settings) if settings.cameras else None
        single = pipeline.build(settings) if cameras is None else None
        frames: Counter[str] = Counter()

        def step() -> None:
            if cameras is not None:
                found = cameras.step(0.25)
                if found is not None:
                    frames[found[0].config.camera] += 1
            elif single is not None and single.step(0.25) is not None:
                frames[settings.camera] += 1

        try:
            warm_s = time.monotonic() + _WARM_S
            while (len(frames) < count or min(frames.values()) < _WARM_FRAMES) and time.monotonic() < warm_s:
                step()
            heap.trim()  # as the daemon does
            mapped_files.release()
            frames.clear()
            began, cpu = time.monotonic(), time.process_time()
            while time.monotonic() - began < plan.seconds:
                step()
            wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
            names = [each.camera for each in settings.each]
            return Sample(wall_s, cpu_s, pss_mb(), tuple(frames[name] for name in names))
        finally:
            (cameras or single).close(_CLOSE_S)  # type: ignore[union-attr]


def decoders(plan: Plan, count: int) -> Sample:
    """Open the clip `count` times and decode some frames of each."""
    opened = [cv2.VideoCapture(str(plan.clip)) for _ in range(count)]
    for _ in range(_WARM_FRAMES):
        images = [capture.read()[1] for capture in opened]
    del images
    return Sample(0.0, 0.0, pss_mb(), (0,) * count)


def pss_mb() -> float:
    """The proportional set size of this process, 10^6 bytes."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))) * 1024 / 1e6


def _settings(plan: Plan, folder: Path, count: int, fault: str) -> config.Config:
    pace = "fast" if fault == "none" else "realtime"
    clip = f"{{type: video, path: {json.dumps(str(plan.clip.resolve()))}, pace: {pace}, loop: true}}"
    sources = [clip] * count if fault == "none" else [clip] * (count - 1) + [_FAULTS[fault]]
    cameras = "".join(f"  - {{name: camera{n}, source: {source}}}\n" for n, source in enumerate(sources))
    path = folder / "config.yaml"
    path.write_text(
        f"device: {{id: bench, state_dir: {json.dumps(str(folder))}}}\ncameras:\n{cameras}"
        f"model: {{path: {json.dumps(str(plan.model.resolve()))}, backend: onnx, threads: {plan.threads}}}\n"
        "publish: {results: all}\nsinks: [{type: jsonl, path: results.jsonl}]\n",
        encoding="utf-8",
    )
    return config.load(path)


def main(arguments: list[str]) -> int:
    heap.share_one_arena()
    clip, model, count, seconds, threads, fault = arguments
    plan = Plan(Path(clip), Path(model), seconds=float(seconds), threads=int(threads))
    try:
        sample = decoders(plan, int(count)) if fault == "decoders" else run(plan, int(count), fault)
    except (EdgeError, EndOfClip) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(json.dumps(asdict(sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
