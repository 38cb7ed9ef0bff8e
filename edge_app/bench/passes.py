"""One pass of a variant of `bench pipeline`, run as its own process. Prints a `Sample` as JSON.

    python -m edge_app.bench.passes runtime|plain|bare|graph CLIP MODEL THREADS PRECISION MAX_FRAMES

Not here: the plain loop's work (plain_loop.py), comparing the passes (pipeline.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from edge_app import config, registry
from edge_app.bench.pipeline import Plan, Sample
from edge_app.bench.plain_loop import PlainModel
from edge_app.errors import ClipError, EdgeError
from edge_app.frame import UInt8
from edge_app.model import manifest

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def runtime(plan: Plan) -> Sample:
    """Run the whole pipeline of edge-app; it writes the results of every frame to a JSON Lines file."""
    from edge_app import pipeline
    from edge_app.errors import EndOfClip

    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(plan, Path(folder))
        with pipeline.build(settings, replay=True) as running:
            timer = _Timer(plan)
            try:
                while not timer.full:
                    timer.frames += running.step() is not None
            except EndOfClip:
                pass
            return timer.sample()


def plain(plan: Plan) -> Sample:
    """Run the plain loop; it writes the results of every frame to a file, a line of JSON each."""
    model = _model(plan)
    with tempfile.TemporaryFile("w", encoding="utf-8") as lines:
        timer = _Timer(plan)
        for image in _frames(plan, timer):
            lines.write(json.dumps(model.infer(image)) + "\n")
        return timer.sample()


def bare(plan: Plan) -> Sample:
    """Decode the clip and run the model on a constant input."""
    model = _model(plan)
    tensor = np.zeros(model.input.shape, model.input.dtype)
    timer = _Timer(plan)
    for _ in _frames(plan, timer):
        model.run(tensor)
    return timer.sample()


def graph(plan: Plan) -> Sample:
    """Run only the model, max_frames times."""
    model = _model(plan)
    tensor = np.zeros(model.input.shape, model.input.dtype)
    model.run(tensor)
    timer = _Timer(plan)
    while not timer.full:
        model.run(tensor)
        timer.frames += 1
    return timer.sample()


VARIANTS = {"plain": plain, "runtime": runtime, "bare": bare, "graph": graph}


class _Timer:
    """Counts frames and measures wall and CPU time from construction, after everything is loaded, to `sample`."""

    def __init__(self, plan: Plan) -> None:
        self.frames = 0
        self._max = plan.max_frames
        self._threads = _thread_times_s()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def full(self) -> bool:
        return self.frames == self._max

    def sample(self) -> Sample:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        busiest = max(spent - self._threads.get(name, 0.0) for name, spent in _thread_times_s().items())
        return Sample(self.frames, wall, cpu, busiest, _peak_rss_mb())


def _thread_times_s() -> dict[str, float]:
    """The CPU time of each thread of this process, seconds."""
    tasks = Path("/proc/self/task").iterdir()
    return {task.name: int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9 for task in tasks}


def _peak_rss_mb() -> float:
    """The peak resident memory of this process, 10^6 bytes. Not ru_maxrss, which includes the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) * 1024 / 1e6


def _model(plan: Plan) -> PlainModel:
    return PlainModel(manifest.load(plan.model), plan.threads, "onnx" if plan.precision == "float" else plan.precision)


def _settings(plan: Plan, folder: Path) -> config.Config:
    path = folder / "config.yaml"
    path.write_text(
        f"device: {{id: bench}}\nsource: {{type: synthetic}}\nmodel: {{path: {json.dumps(str(plan.model.resolve()))}, "
        f"backend: onnx, threads: {plan.threads}, precision: {plan.precision}}}\n"
        "sinks: [{type: jsonl, path: results.jsonl}]\n",
        encoding="utf-8",
    )
    settings = config.load(path)
    clip = config.from_url(str(plan.clip))
    paced = "pace" in {option.name for option in registry.options("sources", clip.plugin.type)}
    options = {**clip.plugin.options, "pace": "fast"} if paced else clip.plugin.options
    return settings.replaced(source=replace(clip, plugin=replace(clip.plugin, options=options)))


def _frames(plan: Plan, timer: _Timer) -> Iterator[UInt8]:
    """Frames of a video, or of a folder of images. Raises ClipError if there is none."""
    for image in _images(plan.clip):
        if timer.full:
            return
        yield image.astype(np.uint8, copy=False)
        timer.frames += 1
    if not timer.frames:
        raise ClipError(f"{plan.clip}: found no frame; expected a video, or a folder of images")


def _images(clip: Path) -> Iterator[UInt8]:
    if clip.is_dir():
        for path in sorted(path for path in clip.iterdir() if path.suffix.lower() in _SUFFIXES):
            yield np.asarray(cv2.imread(str(path)), np.uint8)
        return
    capture = cv2.VideoCapture(str(clip))
    while (read := capture.read())[0]:
        yield np.asarray(read[1], np.uint8)


def main() -> int:
    variant, clip, model, threads, precision, max_frames = sys.argv[1:]
    limit = int(max_frames) or None
    plan = Plan(Path(clip), Path(model), int(threads), limit, "int8" if precision == "int8" else "float")
    try:
        sample = VARIANTS[variant](plan)
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    print(json.dumps(asdict(sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
