"""What looking, planning, every step and a dense run take on this machine.

Each is timed where it stands in the order of a frame, behind a dense run: alone in a loop it would find its code, its
weights and the picture in the caches, and seem to cost two thirds, a small box a quarter.
Not here: what is decided by it (frames.py), where it is kept (tuned.py).
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
from edge_app.reuse.costs import Clock, Cost, Costs, Stopwatch, fitted, middle
from edge_app.reuse.dirty_rects import Box, of_blocks
from edge_app.reuse.feature_cache import Features
from edge_app.reuse.segments import Segment

_ROUNDS = 9
# Of planning a frame: what a call takes more between a camera's frames than here, where little else has run since the
# last. Without it frames took 0.4 ms more than predicted, FastestDet's and NanoDet-m's alike (x86-64).
_COLDER = 0.15
_PART = 0.7  # of the area: a larger part tells nothing of the area's price


@dataclass(frozen=True, slots=True)
class Seen:
    """Two pictures that differ everywhere, as Preprocess lays them out, and the input tensors made of them."""

    pictures: tuple[UInt8, UInt8]
    tensors: tuple[Array, Array]


def pictures(width: int, height: int) -> tuple[UInt8, UInt8]:
    """Two pictures (H, W, 3) uint8 that hold something everywhere, and nowhere the same."""
    rows, columns = height // 16 + 1, width // 16 + 1
    noise = random.Random(0).randbytes(rows * columns * 3)  # numpy.random would have to be loaded for it: 2 MB
    coarse = np.frombuffer(noise, np.uint8).reshape(rows, columns, 3)
    picture = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return picture, np.ascontiguousarray(picture[:, ::-1])


def measured(
    seen: Seen, dense: Callable[[Array], object], features: Features | None, clock: Clock = time.thread_time
) -> Costs:
    """Costs on this machine. dense: computes everything. features: what can be computed in part; its maps are lost.

    clock: as in Stopwatch.
    """
    height, width = seen.pictures[0].shape[:2]
    detector = ChangeDetector((width, height), None)
    detector.take(seen.pictures[0])
    watch = Stopwatch(clock)
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, seen.tensors[turn % 2]))
        watch.time("look", partial(detector.look, seen.pictures[turn % 2].copy()))  # just made, as by Preprocess
        if features is not None:
            watch.time("plan", partial(_plan, detector, features))
    if features is None:
        return Costs(watch.ms("dense"), {}, watch.ms("look"))
    features.costs = _steps(seen.tensors, dense, features, clock)
    beside_ms = _beside_ms(seen.tensors, dense, features, clock) + _COLDER * watch.ms("plan")
    units = {name: Cost(cost.a + beside_ms, cost.b) for name, cost in features.costs.units.items()}
    return replace(features.costs, units=units, look=watch.ms("look"), plan=watch.ms("plan"))


def _plan(detector: ChangeDetector, features: Features) -> None:
    """What a frame that is computed in part takes besides its parts."""
    columns, rows = detector.grid
    blocks = np.zeros((rows, columns), np.uint8)
    for x, y in ((0, 0), (columns // 2, rows // 3), (columns * 3 // 4, rows * 2 // 3), (columns // 8, rows // 2)):
        blocks[y : y + 3, x : x + 2] = 255
    boxes = of_blocks(blocks, detector.size)
    features.predict_ms(boxes)
    detector.anchor(boxes)


def _steps(tensors: Sequence[Array], dense: Callable[[Array], object], features: Features, clock: Clock) -> Costs:
    """A dense run, and each step as a whole and in a small box."""
    watch = Stopwatch(clock)
    boxes = {unit.name: _corner(unit) for unit in features.units if unit.free}
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, tensors[turn % 2]))
        features.show(tensors[turn % 2])
        for unit in features.units:
            watch.time(unit.name, partial(features.run_whole, unit))
        features.show(tensors[(turn + 1) % 2])
        for unit in features.units:
            if unit.free:
                watch.time(f"part {unit.name}", partial(features.run_part, unit, boxes[unit.name]))
    costs = {}
    for unit in features.units:
        whole_ms = watch.ms(unit.name)
        share = unit.part(unit.needed(boxes[unit.name])) if unit.free else 1.0
        known = share < _PART
        costs[unit.name] = fitted((share, watch.ms(f"part {unit.name}")), whole_ms) if known else Cost(whole_ms, 0.0)
    return Costs(watch.ms("dense"), costs)


def _beside_ms(tensors: Sequence[Array], dense: Callable[[Array], object], features: Features, clock: Clock) -> float:
    """What an update takes, for each call, beyond what its steps do."""
    watch = Stopwatch(clock)
    boxes = _scattered(features.units[0].whole[2:])
    spent_ms, calls = [], []
    for turn in range(_ROUNDS):
        watch.time("dense", partial(dense, tensors[turn % 2]))
        before = features.calls
        watch.time("update", partial(_update, features, tensors[turn % 2], boxes))
        spent_ms.append(features.spent_ms)
        calls.append(features.calls - before)
    features.valid = False
    update_ms = watch.ms("update") * features.costs.dense / watch.ms("dense")  # the machine may be busier than before
    return max(0.0, (update_ms - middle(spent_ms[1:])) / max(1.0, middle(calls[1:])))


def _update(features: Features, tensor: Array, boxes: Sequence[Box]) -> None:
    features.update(tensor, boxes)
    for unit in features.units:
        if unit.head:
            features.touch(unit.head, boxes)
            features.outputs_of(unit.head)


def _corner(unit: Segment) -> Box:
    """An eighth of the width and of the height of the picture."""
    width, height = (max(1, side // (8 * unit.align)) * unit.align for side in unit.whole[2:])
    return 0, 0, width, height


def _scattered(size: tuple[int, int]) -> list[Box]:
    """A few boxes, as several small objects make them."""
    width, height = size
    side = max(16, height // 12)
    return [
        (x, y, min(width, x + side), min(height, y + 2 * side))
        for x, y in ((0, 0), (width // 2, height // 3), (width * 3 // 4, height * 2 // 3), (width // 8, height // 2))
    ]
