"""What else the same time could buy: fewer frames, fewer frames and a tracker, fewer pixels, only crops that move.

Each spends on average what reuse spent on the clip: what is too dear for one frame is saved up for. Not here: what runs
only where something moves (crops.py), nor how well any of it does (agreement.py).
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
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, MethodResults
from edge_app.config import ModelConfig
from edge_app.config.rules import TrackConfig
from edge_app.errors import BackendError, ModelError
from edge_app.frame import Detections, Frame
from edge_app.model.manifest import Manifest
from edge_app.tracking.tracker import UNTRACKED, Tracker

_STEP = 32  # pixels: the sides of detectors' inputs are multiples of their last stride
_LEAST = 64
_SKEWED = 1.15  # how much wider or higher a smaller input may be in proportion, to meet the cost more closely
_TRIES, _LOOKS = 4, 8  # to find the size of a price, and to measure a price
_ENOUGH = 0.98  # of the share: so close to it is not less
_EVERY = 10  # frames: how often full inference runs beside the controls, to know the machine's speed then
_FOLLOW = TrackConfig(head="", high=0.5, low=0.1, start=0.5)
Stopwatch = Callable[[], int]
_SURE, _UNSURE = 0.9, 0.3  # scores that tell the tracker which boxes are sure


def skip_frames(watched: ClipResults, share: float) -> MethodResults:
    """Full inference on a share of the frames; between, the last boxes.

    What full inference sees and takes is known from the run without reuse: it is the same.
    """
    full, looks, budget = watched.results["off"], MethodResults(), CostAllowance(min(share, 1.0))
    last, last_ns = full.objects[0], watched.stamps_ns[0]
    for number, now_ns in enumerate(watched.stamps_ns):
        budget.earn()
        run = number == 0 or budget.pay(1.0)
        if run:
            last, last_ns = full.objects[number], now_ns
        looks.note(last, full.cost_ns[number] if run else 0, now_ns - last_ns)
    return looks


def skip_and_track(watched: ClipResults, share: float, stopwatch: Stopwatch) -> MethodResults:
    """Full inference on a share of the frames; between, the last boxes where a tracker expects them.

    The tracker's own time is a part of the share.
    """
    full_ns = float(np.mean(watched.results["off"].cost_ns))
    _, spent_ns = _tracked(watched, share, stopwatch)
    return _tracked(watched, share - spent_ns / full_ns, stopwatch)[0]


def _tracked(watched: ClipResults, share: float, stopwatch: Stopwatch) -> tuple[MethodResults, float]:
    """share: of inference alone. Returns the looks, and the tracker's mean nanoseconds a frame."""
    full, looks = watched.results["off"], MethodResults()
    tracker, budget = Tracker(_FOLLOW), CostAllowance(min(max(share, 0.0), 1.0))
    last, ids, last_ns = full.objects[0], np.zeros(0, np.int64), 0
    tracker_ns = 0
    for number, now_ns in enumerate(watched.stamps_ns):
        budget.earn()
        run = number == 0 or budget.pay(1.0)
        begin = stopwatch()
        if run:
            last, last_ns = full.objects[number], now_ns
            ids = _identities(tracker, last, now_ns)
        there = last if run else _carried(last, ids, tracker.predict(now_ns))
        spent_ns = stopwatch() - begin
        tracker_ns += spent_ns
        looks.note(there, spent_ns + (full.cost_ns[number] if run else 0), now_ns - last_ns)
    return looks, tracker_ns / len(watched.stamps_ns)


@dataclass(frozen=True, slots=True)
class ControlSetup:
    """What the controls that run models of their own need.

    off: full inference. folder: for models of other sizes. progress: called after each frame.
    """

    manifest: Manifest
    reader: ObjectReader
    off: InferenceRun
    folder: Path
    progress: Callable[[], object]
    engine: ModelConfig


def with_models(bench: ControlSetup, clip: Clip, watched: ClipResults, share: float) -> dict[str, MethodResults]:
    """Lower resolution and motion-gated crops, in turns on every frame. share: of the cost of full inference.

    A control that this model cannot do is left out. Times are set in proportion to full inference, which runs beside
    now and then: the machine may be busier now than when reuse was measured.
    """
    with ExitStack() as stack:
        low = _of_price(bench, clip, share, stack)
        near = _opened(bench, "near", (_half(bench.manifest.input.width), _half(bench.manifest.input.height)), stack)
        methods: dict[str, Callable[[Frame], tuple[Objects, int, int]]] = {}
        if low is not None:
            methods["lower_resolution"] = low.infer
        lenses = [WindowModel(bench.off, 1.0)]  # each crop is one more full inference: what every model can do
        if near is not None:
            lenses.append(WindowModel(near, _price(bench, clip, near)[0]))
        methods["motion_crops"] = MotionCrops(bench.off, lenses, share, _price(bench, clip, bench.off)[1]).infer
        return _in_turns(bench, clip, watched, methods)


def input_sizes(width: int, height: int, area: float) -> list[tuple[int, int]]:
    """Input sizes of about the same shape, the one first whose area is nearest to a share of width x height."""
    every = [(w, h) for w in range(_LEAST, width + 1, _STEP) for h in range(_LEAST, height + 1, _STEP)]
    alike = [(w, h) for w, h in every if 1 / _SKEWED < w / h * height / width < _SKEWED]
    return sorted(alike, key=lambda size: abs(size[0] * size[1] / width / height - area))


def _in_turns(
    bench: ControlSetup,
    clip: Clip,
    watched: ClipResults,
    methods: dict[str, Callable[[Frame], tuple[Objects, int, int]]],
) -> dict[str, MethodResults]:
    looks = {name: MethodResults() for name in methods}
    full_ns: list[int] = []
    for number, frame in enumerate(clip.frames()):
        if number % _EVERY == 0:
            full_ns.append(bench.off.infer(frame)[1])
        names = list(methods)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            looks[name].note(*methods[name](frame))
        bench.progress()
    then_ns = watched.results["off"].cost_ns[::_EVERY]
    speed = float(np.median(then_ns) / np.median(full_ns))
    for each in looks.values():
        each.cost_ns = [round(cost * speed) for cost in each.cost_ns]
    return looks


def _of_price(bench: ControlSetup, clip: Clip, share: float, stack: ExitStack) -> InferenceRun | None:
    """The model for the least input size that does not cost less than `share`, as measured; None where none works."""
    full = bench.manifest.input
    tried: dict[tuple[int, int], tuple[float, InferenceRun]] = {}
    area = min(share, 1.0)
    for _ in range(_TRIES):
        size = next(iter(input_sizes(full.width, full.height, area)), None)
        if size is None or size in tried:
            break
        eye = _opened(bench, f"lower{len(tried)}", size, stack)
        if eye is None:
            break
        price, _ = _price(bench, clip, eye)
        tried[size] = price, eye
        area = min(1.0, 1.02 * size[0] * size[1] / full.width / full.height * share / price)
    if not tried:
        return None
    enough = [found for found in tried.values() if found[0] >= _ENOUGH * share] or [max(tried.values(), key=_first)]
    return min(enough, key=_first)[1]


def _first(found: tuple[float, InferenceRun]) -> float:
    return found[0]


def _price(bench: ControlSetup, clip: Clip, eye: InferenceRun) -> tuple[float, float]:
    """What a look costs in shares of full inference, and nanoseconds of that: medians of looks in turns."""
    frame = next(clip.frames())
    pairs = [(eye.infer(frame)[1], bench.off.infer(frame)[1]) for _ in range(_LOOKS)]
    part, full = np.median(pairs[1:], axis=0)  # engines allocate at the first
    return float(part / full), float(full)


def _opened(bench: ControlSetup, name: str, size: tuple[int, int], stack: ExitStack) -> InferenceRun | None:
    """The model for another input size, closed by `stack`; None where its graphs cannot be run with it."""
    manifest = resize_model(bench.manifest, *size, bench.folder / name)
    try:
        eye = stack.enter_context(InferenceRun(manifest, bench.reader, bench.engine))
        eye.infer(_black(*size))
    except (BackendError, ModelError, ValueError):  # graphs and decoders with the size written into them
        return None
    return eye


def _black(width: int, height: int) -> Frame:
    return Frame("black", 0, 0, 0, np.zeros((height, width, 3), np.uint8))


def _half(side: int) -> int:
    return max(_LEAST, side // 2 // _STEP * _STEP)


def _identities(tracker: Tracker, seen: Objects, now_ns: int) -> NDArray[np.int64]:
    score = np.where(seen.sure, _SURE, _UNSURE).astype(np.float32)
    ids = tracker.update(Detections(seen.xyxy, score, seen.class_id.astype(np.int32)), now_ns).track_id
    assert ids is not None
    return ids


def _carried(last: Objects, ids: NDArray[np.int64], expected: Detections) -> Objects:
    """The last objects, those with an identity at the place where it is expected now."""
    assert expected.track_id is not None
    place = dict(zip(expected.track_id.tolist(), expected.xyxy))
    xyxy = last.xyxy.copy()
    for row in np.flatnonzero(ids != UNTRACKED).tolist():
        xyxy[row] = place.get(int(ids[row]), xyxy[row])
    return replace(last, xyxy=xyxy)
