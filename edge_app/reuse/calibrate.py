"""Calibration: measure the costs of change detection, planning, every segment and a dense run on this machine.

Each part is timed in the order of a real frame, after a dense run. Timed alone in a loop, it would find its code,
weights and image in the CPU's caches: it would seem to take two thirds of its time, and a small box a quarter.
Not here: what the costs decide (planner.py), where they are stored (cost_file.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from edge_app.backends import Array
from edge_app.reuse.change_detection import ChangeDetector, UInt8
from edge_app.reuse.costs import Clock, Cost, Costs, Stopwatch, fit_cost, median
from edge_app.reuse.dirty_rects import Box, boxes_of_blocks
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.segments import Segment

_ROUNDS = 9
# A call takes longer between the frames of a camera than here, where little else has run since the last one: by this
# share of the planning time. Without it, frames took 0.4 ms more than predicted (FastestDet and NanoDet-m, x86-64).
_COLD_CACHE = 0.15
_MAX_BOX_SHARE = 0.7  # of the area: with a larger box, the slope of the cost is not measurable
_SPOTS = ((0, 0), (1 / 2, 1 / 3), (3 / 4, 2 / 3), (1 / 8, 1 / 2))  # where a few small objects are, 0..1


@dataclass(frozen=True, slots=True)
class CalibrationPair:
    """Two images that differ everywhere, as Preprocess lays them out, and their input tensors."""

    images: tuple[UInt8, UInt8]
    tensors: tuple[Array, Array]


def calibration_images(width: int, height: int) -> tuple[UInt8, UInt8]:
    """Two images (H, W, 3) uint8 with detail everywhere, which differ everywhere."""
    rows, columns = height // 16 + 1, width // 16 + 1
    noise = random.Random(0).randbytes(rows * columns * 3)  # importing numpy.random would take 2 MB
    coarse = np.frombuffer(noise, np.uint8).reshape(rows, columns, 3)
    image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image, np.ascontiguousarray(image[:, ::-1])


def measure_costs(
    pair: CalibrationPair,
    dense: Callable[[Array], object],
    features: FeatureCache | None,
    clock: Clock = time.thread_time,
) -> Costs:
    """Measure the costs on this machine, in about 40 inferences.

    dense: runs the whole network. features: the segments; its maps are invalid afterwards. None: the model has none.
    clock: as for Stopwatch.
    """
    height, width = pair.images[0].shape[:2]
    detector = ChangeDetector((width, height), None)
    detector.set_reference(pair.images[0])
    watch = Stopwatch(clock)
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, pair.tensors[turn % 2]))
        watch.time("detect", partial(detector.detect, pair.images[turn % 2].copy()))  # copied: in the CPU's caches
        if features is not None:
            watch.time("plan", partial(_plan, detector, features))
    if features is None:
        return Costs(watch.ms("dense"), {}, watch.ms("detect"))
    features.costs = _measure_segments(pair.tensors, dense, features, clock)
    call_ms = _call_overhead_ms(pair.tensors, dense, features, clock) + _COLD_CACHE * watch.ms("plan")
    segments = {name: Cost(cost.a + call_ms, cost.b) for name, cost in features.costs.segments.items()}
    return replace(features.costs, segments=segments, detect=watch.ms("detect"), plan=watch.ms("plan"))


def _plan(detector: ChangeDetector, features: FeatureCache) -> None:
    """The work of a partial frame outside its segments."""
    columns, rows = detector.grid
    blocks = np.zeros((rows, columns), np.uint8)
    for x, y in _spots(columns, rows):
        blocks[y : y + 3, x : x + 2] = 255
    boxes = boxes_of_blocks(blocks, detector.size)
    features.predict_ms(boxes)
    detector.update_reference(boxes)


def _measure_segments(
    tensors: Sequence[Array], dense: Callable[[Array], object], features: FeatureCache, clock: Clock
) -> Costs:
    """Time a dense run, and each segment as a whole and on a small box."""
    watch = Stopwatch(clock)
    boxes = {segment.name: _corner(segment) for segment in features.segments if segment.croppable}
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, tensors[turn % 2]))
        features.set_image(tensors[turn % 2])
        for segment in features.segments:
            watch.time(segment.name, partial(features.run_whole, segment))
        features.set_image(tensors[(turn + 1) % 2])
        for segment in features.segments:
            if segment.croppable:
                watch.time(f"box {segment.name}", partial(features.run_box, segment, boxes[segment.name]))
    costs = {}
    for segment in features.segments:
        whole_ms = watch.ms(segment.name)
        share = segment.part(segment.needed(boxes[segment.name])) if segment.croppable else 1.0
        if share < _MAX_BOX_SHARE:
            costs[segment.name] = fit_cost((share, watch.ms(f"box {segment.name}")), whole_ms)
        else:
            costs[segment.name] = Cost(whole_ms, 0.0)
    return Costs(watch.ms("dense"), costs)


def _call_overhead_ms(
    tensors: Sequence[Array], dense: Callable[[Array], object], features: FeatureCache, clock: Clock
) -> float:
    """The time of an update, per call, beyond that of its segments."""
    watch = Stopwatch(clock)
    boxes = _scattered_boxes(features.segments[0].whole[2:])
    spent_ms, calls = [], []
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, tensors[turn % 2]))
        before = features.calls
        watch.time("update", partial(_update, features, tensors[turn % 2], boxes))
        spent_ms.append(features.spent_ms)
        calls.append(features.calls - before)
    # The machine may be busier than while the segments were timed, so both dense times are compared.
    update_ms = watch.ms("update") * features.costs.dense / watch.ms("dense")
    return max(0.0, (update_ms - median(spent_ms[1:])) / max(1.0, median(calls[1:])))


def _update(features: FeatureCache, tensor: Array, boxes: Sequence[Box]) -> None:
    features.update(tensor, boxes)
    for head in features.heads:
        features.mark_pending(head, boxes)
        features.outputs_of(head)


def _corner(segment: Segment) -> Box:
    """A box of an eighth of the image's width and height."""
    width, height = (max(1, side // (8 * segment.align)) * segment.align for side in segment.whole[2:])
    return segment.aligned((0, 0, width, height))


def _scattered_boxes(size: tuple[int, int]) -> list[Box]:
    """A few boxes, as of several small objects."""
    width, height = size
    side = max(16, height // 12)
    return [(x, y, min(width, x + side), min(height, y + 2 * side)) for x, y in _spots(width, height)]


def _spots(width: int, height: int) -> list[tuple[int, int]]:
    return [(int(x * width), int(y * height)) for x, y in _SPOTS]
