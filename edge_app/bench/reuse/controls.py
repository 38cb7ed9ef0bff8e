"""Other methods at the cost of reuse: fewer frames, fewer frames and a tracker, fewer pixels, crops around motion.

On average each spends what reuse spent on the clip; a cost above the allowance of one frame is saved up for. Not here:
crops (motion_crops.py), agreement (agreement.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse.allowance import CostAllowance
from edge_app.bench.reuse.clips import Clip
from edge_app.bench.reuse.motion_crops import MotionCrops, WindowModel
from edge_app.bench.reuse.objects import ObjectReader, Objects
from edge_app.bench.reuse.resized_model import resize_model
from edge_app.bench.reuse.runs import ClipResults, FrameResult, InferenceRun, MethodResults
from edge_app.config import ModelConfig
from edge_app.config.rules import TrackConfig
from edge_app.errors import BackendError, ModelError
from edge_app.frame import Detections, Frame
from edge_app.model.manifest import Manifest
from edge_app.tracking.tracker import UNTRACKED, Tracker

_SIDE_STEP, _MIN_SIDE = 32, 64  # pixels: sides of a detector's input are multiples of its largest stride
_MAX_SKEW = 1.15  # by how much the aspect ratio of a smaller input may differ, to meet the cost more closely
_SIZE_TRIES, _PRICE_RUNS = 4, 8  # to find the size for a cost; to measure the cost of one size
_ENOUGH = 0.98  # of the share: a size this close counts as not cheaper
_FULL_EVERY = 10  # frames: how often full inference runs next to the controls, to measure the machine's speed
_TRACKING = TrackConfig(head="", high=0.5, low=0.1, start=0.5)
_CONFIDENT, _UNCERTAIN = 0.9, 0.3  # scores for the tracker, above and below its thresholds
Stopwatch = Callable[[], int]
Infer = Callable[[Frame], FrameResult]


def skip_frames(clip: ClipResults, share: float) -> MethodResults:
    """Full inference on a share of the frames; the last boxes in between.

    Results and costs of full inference are those of the run without reuse.
    """
    full, results, allowance = clip.results["off"], MethodResults(), CostAllowance(min(share, 1.0))
    last, last_ns = full.objects[0], clip.stamps_ns[0]
    for number, now_ns in enumerate(clip.stamps_ns):
        allowance.earn()
        run = number == 0 or allowance.pay(1.0)
        if run:
            last, last_ns = full.objects[number], now_ns
        results.append(FrameResult(last, full.cost_ns[number] if run else 0, now_ns - last_ns))
    return results


def skip_and_track(clip: ClipResults, share: float, stopwatch: Stopwatch) -> MethodResults:
    """Full inference on a share of the frames; in between the last boxes, moved to where a tracker predicts them.

    The share includes the tracker's time.
    """
    full_ns = float(np.mean(clip.results["off"].cost_ns))
    _, tracker_ns = _skip_and_track(clip, share, stopwatch)
    return _skip_and_track(clip, share - tracker_ns / full_ns, stopwatch)[0]


def _skip_and_track(clip: ClipResults, share: float, stopwatch: Stopwatch) -> tuple[MethodResults, float]:
    """share: of inference alone. Returns the results and the tracker's mean nanoseconds per frame."""
    full, results = clip.results["off"], MethodResults()
    tracker, allowance = Tracker(_TRACKING), CostAllowance(min(max(share, 0.0), 1.0))
    last, ids, last_ns = full.objects[0], np.zeros(0, np.int64), 0
    tracker_ns = 0
    for number, now_ns in enumerate(clip.stamps_ns):
        allowance.earn()
        run = number == 0 or allowance.pay(1.0)
        begin = stopwatch()
        if run:
            last, last_ns = full.objects[number], now_ns
            ids = _identities(tracker, last, now_ns)
        objects = last if run else _predicted(last, ids, tracker.predict(now_ns))
        spent_ns = stopwatch() - begin
        tracker_ns += spent_ns
        results.append(FrameResult(objects, spent_ns + (full.cost_ns[number] if run else 0), now_ns - last_ns))
    return results, tracker_ns / len(clip.stamps_ns)


@dataclass(frozen=True, slots=True)
class ControlSetup:
    """The inputs of the controls that run a model.

    off: full inference. folder: for resized models. progress: called after each frame.
    """

    manifest: Manifest
    reader: ObjectReader
    off: InferenceRun
    folder: Path
    progress: Callable[[], object]
    engine: ModelConfig


def run_model_controls(
    setup: ControlSetup, clip: Clip, measured: ClipResults, share: float
) -> dict[str, MethodResults]:
    """Run lower resolution and motion-gated crops, alternating on every frame. share: of the cost of full inference.

    A control that does not work with the model is left out. Full inference runs every _FULL_EVERY frames; costs are
    scaled by its time, since the machine's load may differ from that while reuse was measured.
    """
    with ExitStack() as stack:
        lower = _model_of_cost(setup, clip, share, stack)
        size = _half(setup.manifest.input.width), _half(setup.manifest.input.height)
        half = _open_resized(setup, "half", size, stack)
        methods: dict[str, Infer] = {}
        if lower is not None:
            methods["lower_resolution"] = lower.infer
        models = [WindowModel(setup.off, 1.0)]  # a full inference per window, which works with every model
        if half is not None:
            models.append(WindowModel(half, _price(setup, clip, half)[0]))
        methods["motion_crops"] = MotionCrops(setup.off, models, share, _price(setup, clip, setup.off)[1]).infer
        return _run_in_turns(setup, clip, measured, methods)


def input_sizes(width: int, height: int, area: float) -> list[tuple[int, int]]:
    """Input sizes of about the same aspect ratio, the one closest to a share `area` of width x height first."""
    sides = (range(_MIN_SIDE, width + 1, _SIDE_STEP), range(_MIN_SIDE, height + 1, _SIDE_STEP))
    similar = [(w, h) for w in sides[0] for h in sides[1] if 1 / _MAX_SKEW < w / h * height / width < _MAX_SKEW]
    return sorted(similar, key=lambda size: abs(size[0] * size[1] / width / height - area))


def _run_in_turns(
    setup: ControlSetup, clip: Clip, measured: ClipResults, methods: dict[str, Infer]
) -> dict[str, MethodResults]:
    results = {name: MethodResults() for name in methods}
    names = list(methods)
    full_ns: list[int] = []
    for number, frame in enumerate(clip.frames()):
        if number % _FULL_EVERY == 0:
            full_ns.append(setup.off.infer(frame).cost_ns)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            results[name].append(methods[name](frame))
        setup.progress()
    earlier_ns = measured.results["off"].cost_ns[::_FULL_EVERY]
    speed = float(np.median(earlier_ns) / np.median(full_ns))
    for method_results in results.values():
        method_results.cost_ns = [round(cost * speed) for cost in method_results.cost_ns]
    return results


def _model_of_cost(setup: ControlSetup, clip: Clip, share: float, stack: ExitStack) -> InferenceRun | None:
    """The model of the smallest input size whose measured cost is at least `share`; None if no size works."""
    full = setup.manifest.input
    tried: dict[tuple[int, int], tuple[float, InferenceRun]] = {}
    area = min(share, 1.0)
    for _ in range(_SIZE_TRIES):
        size = next(iter(input_sizes(full.width, full.height, area)), None)
        if size is None or size in tried:
            break
        run = _open_resized(setup, f"lower{len(tried)}", size, stack)
        if run is None:
            break
        price, _ = _price(setup, clip, run)
        tried[size] = price, run
        area = min(1.0, 1.02 * size[0] * size[1] / full.width / full.height * share / price)
    if not tried:
        return None
    candidates = [candidate for candidate in tried.values() if candidate[0] >= _ENOUGH * share] or [
        max(tried.values(), key=_first)
    ]
    return min(candidates, key=_first)[1]


def _first(tried: tuple[float, InferenceRun]) -> float:
    return tried[0]


def _price(setup: ControlSetup, clip: Clip, run: InferenceRun) -> tuple[float, float]:
    """The cost of a frame as a share of full inference, and of full inference in ns: medians of alternating runs."""
    frame = next(clip.frames())
    pairs = [(run.infer(frame).cost_ns, setup.off.infer(frame).cost_ns) for _ in range(_PRICE_RUNS)]
    part, full = np.median(pairs[1:], axis=0)  # engines allocate memory in the first run
    return float(part / full), float(full)


def _open_resized(setup: ControlSetup, name: str, size: tuple[int, int], stack: ExitStack) -> InferenceRun | None:
    """The model for another input size, closed by `stack`; None if its graphs do not work with it."""
    manifest = resize_model(setup.manifest, *size, setup.folder / name)
    try:
        run = stack.enter_context(InferenceRun(manifest, setup.reader, setup.engine))
        run.infer(_black(*size))
    except (BackendError, ModelError, ValueError):  # graphs and decoders that contain the size
        return None
    return run


def _black(width: int, height: int) -> Frame:
    return Frame("black", 0, 0, 0, np.zeros((height, width, 3), np.uint8))


def _half(side: int) -> int:
    return max(_MIN_SIDE, side // 2 // _SIDE_STEP * _SIDE_STEP)


def _identities(tracker: Tracker, objects: Objects, now_ns: int) -> NDArray[np.int64]:
    score = np.where(objects.confident, _CONFIDENT, _UNCERTAIN).astype(np.float32)
    ids = tracker.update(Detections(objects.xyxy, score, objects.class_id.astype(np.int32)), now_ns).track_id
    assert ids is not None
    return ids


def _predicted(last: Objects, ids: NDArray[np.int64], predicted: Detections) -> Objects:
    """The last objects; those with an identity are at their predicted place."""
    assert predicted.track_id is not None
    place = dict(zip(predicted.track_id.tolist(), predicted.xyxy))
    xyxy = last.xyxy.copy()
    for row in np.flatnonzero(ids != UNTRACKED).tolist():
        xyxy[row] = place.get(int(ids[row]), xyxy[row])
    return replace(last, xyxy=xyxy)
