"""Look at every frame of a clip in several ways, in turns, and at a noised copy of it for the reference.

Frame by frame in one run, first one way and then another, so that a busy machine favours none. Not here: what times
and objects mean (agreement.py, report.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from edge_app.inference.stage import Inference, open_backend
from edge_app.model.manifest import Manifest

REFERENCE_LEVELS, REFERENCE_SEED = 2, 20_202  # of the noise on the reference's copy, grey levels


@dataclass(slots=True)
class MethodResults:
    """What one method saw of a clip, a frame an element. cost_ns: everything after decoding and resizing."""

    objects: list[Objects] = field(default_factory=list)
    cost_ns: list[int] = field(default_factory=list)
    age_ns: list[int] = field(default_factory=list)

    def note(self, objects: Objects, cost_ns: int, age: int = 0) -> None:
        self.objects.append(objects)
        self.cost_ns.append(cost_ns)
        self.age_ns.append(age)

    @property
    def costs_ms(self) -> NDArray[np.float64]:
        """Of all frames but the first, which every method must look at and on which engines allocate."""
        return np.array(self.cost_ns[1:] or self.cost_ns, np.float64) / 1e6


class _Timed(Inference):
    """Inference that tells what the last frame took behind preprocessing. stopwatch: nanoseconds."""

    stopwatch: Callable[[], int] = time.perf_counter_ns
    last_ns = 0

    def infer(self, frame: Frame) -> Frame:
        self.last_ns = 0  # where no head is due
        return super().infer(frame)

    def _compute(self, *of_frame: Any) -> None:
        start_ns = self.stopwatch()
        super()._compute(*of_frame)
        self.last_ns = self.stopwatch() - start_ns


class InferenceRun:
    """A model that looks at frames in one way. Use as a context manager. stopwatch: what costs are counted with."""

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
        # A CPU engine's single thread is this one: its own time, which leaves out what other programs take of the core.
        alone = engine.threads == 1 and backend.target == "onnx"
        self.stopwatch: Callable[[], int] = time.thread_time_ns if alone else time.perf_counter_ns
        self.inference = _Timed(manifest, backend, reader.heads, reuse=reuse, state_dir=state_dir)
        self.inference.stopwatch = self.stopwatch

    def __enter__(self) -> InferenceRun:
        return self

    def __exit__(self, *exc: object) -> None:
        self.inference.close()

    def infer(self, frame: Frame) -> tuple[Objects, int, int]:
        """What is seen in a frame (which is left as it is), nanoseconds that it took, and the results' age."""
        seen = self.inference.infer(with_image(frame, frame.image))
        for readings in self.readings:
            readings.note(seen)
        return self._reader.objects(seen), self.inference.last_ns, age_ns(seen)


@dataclass(frozen=True, slots=True)
class ClipResults:
    """A clip as it was seen. size: width and height. looks, readings: by the method's name."""

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
    """Look at a whole clip, with full inference (`off`) and in other ways. progress: called after each frame.

    independent: full inference for the reference; not `off` itself, which would always find its caches warm.
    Raises ClipError where the clip has no frame.
    """
    noise = Noise.uniform(REFERENCE_LEVELS, REFERENCE_SEED)
    eyes = {"off": off, **others}
    looks = {name: MethodResults() for name in eyes}
    reference: list[Objects] = []
    stamps_ns: list[int] = []
    size = (0, 0)
    for number, frame in enumerate(clip.frames()):
        reference.append(independent.infer(noise.apply_to(frame))[0])
        stamps_ns.append(frame.captured_ns)
        size = frame.width, frame.height
        names = list(eyes)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            looks[name].note(*eyes[name].infer(frame))
        progress()
    if not reference:
        raise ClipError(f"{clip.name}: found no frame; expected a clip")
    told = {name: [each for readings in eye.readings for each in readings.told] for name, eye in eyes.items()}
    return ClipResults(size, stamps_ns, build_reference(reference, stamps_ns), results=looks, readings=told)


def build_reference(seen: Sequence[Objects], stamps_ns: Sequence[int]) -> Reference:
    """A reference of what was seen: with what moves in it, and what is new."""
    followed = trajectories.find_trajectories(seen, stamps_ns)
    moving = trajectories.moving_masks(seen, followed)
    return Reference(seen, moving, trajectories.new_objects(seen, followed, moving))
