"""Run every frame of a clip through several methods, alternating, and a noised copy of it through full inference.

The methods alternate frame by frame in one run, so that a change of the machine's load affects all of them alike. The
noised copy gives the reference. Not here: evaluating the results (agreement.py, report.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse import trajectories
from edge_app.bench.reuse.agreement import Reference
from edge_app.bench.reuse.clips import Clip, Noise, with_image
from edge_app.bench.reuse.objects import ObjectReader, Objects, age_ns
from edge_app.bench.reuse.reading_log import ReadingLog
from edge_app.config import ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import ClipError
from edge_app.frame import Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model.manifest import Manifest

REFERENCE_LEVELS, REFERENCE_SEED = 2, 20_202  # the reference's noise: up to this many gray levels


class FrameResult(NamedTuple):
    """The output of one method for one frame. cost_ns: everything after decoding and resizing."""

    objects: Objects
    cost_ns: int
    age_ns: int = 0


@dataclass(slots=True)
class MethodResults:
    """The output of one method for a clip, one element per frame. cost_ns, age_ns: as in FrameResult."""

    objects: list[Objects] = field(default_factory=list)
    cost_ns: list[int] = field(default_factory=list)
    age_ns: list[int] = field(default_factory=list)

    def append(self, result: FrameResult) -> None:
        self.objects.append(result.objects)
        self.cost_ns.append(result.cost_ns)
        self.age_ns.append(result.age_ns)

    @property
    def costs_ms(self) -> NDArray[np.float64]:
        """(N - 1,), without the first frame: every method computes it, and engines allocate memory on it."""
        return np.array(self.cost_ns[1:] or self.cost_ns, np.float64) / 1e6


class _TimedInference(Inference):
    """Inference that measures the time of the last frame after preprocessing. stopwatch: nanoseconds."""

    stopwatch: Callable[[], int] = time.perf_counter_ns
    last_ns = 0

    def infer(self, frame: Frame) -> Frame:
        self.last_ns = 0  # in case no head is due
        return super().infer(frame)

    def _compute(self, *of_frame: Any) -> None:
        start_ns = self.stopwatch()
        super()._compute(*of_frame)
        self.last_ns = self.stopwatch() - start_ns


class InferenceRun:
    """A model with one reuse configuration; a context manager. stopwatch: the clock that costs are measured with."""

    def __init__(
        self,
        manifest: Manifest,
        reader: ObjectReader,
        engine: ModelConfig,
        reuse: ReuseConfig = OFF,
        state_dir: Path | None = None,
    ) -> None:
        self._reader = reader
        backend = open_backend(manifest, engine)
        digits = [name for name in reader.heads if manifest.heads[name].family == "digits"]
        self.readings = [ReadingLog(manifest, name, reader.threshold(name)) for name in digits]
        # A CPU engine with one thread runs in this thread: its CPU time excludes the load of other programs.
        single_thread = engine.threads == 1 and backend.target == "onnx"
        self.stopwatch: Callable[[], int] = time.thread_time_ns if single_thread else time.perf_counter_ns
        self.inference = _TimedInference(manifest, backend, reader.heads, reuse=reuse, state_dir=state_dir)
        self.inference.stopwatch = self.stopwatch

    def __enter__(self) -> InferenceRun:
        return self

    def __exit__(self, *exc: object) -> None:
        self.inference.close()

    def infer(self, frame: Frame) -> FrameResult:
        """Run inference on a copy of the frame."""
        done = self.inference.infer(with_image(frame, frame.image))
        for readings in self.readings:
            readings.append(done)
        return FrameResult(self._reader.objects(done), self.inference.last_ns, age_ns(done))


@dataclass(frozen=True, slots=True)
class ClipResults:
    """All results on one clip. size: width and height, pixels. results, readings: by the method's name."""

    size: tuple[int, int]
    stamps_ns: Sequence[int]
    reference: Reference
    results: Mapping[str, MethodResults]
    readings: Mapping[str, Sequence[tuple[str, int]]]


def run_clip(
    clip: Clip,
    independent: InferenceRun,
    off: InferenceRun,
    others: Mapping[str, InferenceRun],
    progress: Callable[[], object],
) -> ClipResults:
    """Run a clip through full inference (`off`) and other methods. progress: called after each frame.

    independent: full inference for the reference. It is not `off` itself, whose processor caches would then be warm.
    Raises ClipError if the clip has no frame.
    """
    noise = Noise.uniform(REFERENCE_LEVELS, REFERENCE_SEED)
    runs = {"off": off, **others}
    names = list(runs)
    results = {name: MethodResults() for name in runs}
    reference: list[Objects] = []
    stamps_ns: list[int] = []
    size = (0, 0)
    for number, frame in enumerate(clip.frames()):
        reference.append(independent.infer(noise.apply_to(frame)).objects)
        stamps_ns.append(frame.captured_ns)
        size = frame.width, frame.height
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            results[name].append(runs[name].infer(frame))
        progress()
    if not reference:
        raise ClipError(f"{clip.name}: found no frame; expected a clip")
    readings = {name: [entry for log in run.readings for entry in log.entries] for name, run in runs.items()}
    return ClipResults(size, stamps_ns, build_reference(reference, stamps_ns), results, readings)


def build_reference(objects: Sequence[Objects], stamps_ns: Sequence[int]) -> Reference:
    """The reference for the objects of every frame: also which of them move, and which are new."""
    paths = trajectories.find_trajectories(objects, stamps_ns)
    moving = trajectories.moving_masks(objects, paths)
    return Reference(objects, moving, trajectories.new_objects(objects, paths, moving))
