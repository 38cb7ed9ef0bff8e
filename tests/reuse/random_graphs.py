"""Compares reuse with full inference on random networks: `python -m tests.reuse.random_graphs --seeds 500`.

Each network is split and cut by the compiler, written as a model folder, and run by FrameReuse and FeatureCache, as on
a device: on random boxes with exact propagation, where every output must equal that of full inference to 1e-4, and
with limited propagation, which must not fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from edge_app.backends.onnx import Backend
from edge_app.compiler import assemble, describe, head_segments
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.canonical import any_size
from edge_app.compiler.net import Net
from edge_app.compiler.output_cells import with_free_size
from edge_app.config.reuse import ReuseConfig
from edge_app.inference.graphs import Network
from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.frame_reuse import FrameReuse
from edge_app.reuse.head_schedule import HeadPolicy
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from edge_app.reuse.propagation import FAR, NEAR, Propagation
from edge_app.reuse.refresh import RollingRefresh
from tests.reuse.random_networks import random_network

TOLERANCE = 1e-4  # of max(1, |value|)
_FRAMES = 6
_HEAD = "random"


@dataclass
class Outcome:
    """The result of one network. error: the largest. parts: calls of segments on a part of the image."""

    seed: int
    error: float = 0.0
    parts: int = 0
    segments: int = 0
    croppable: int = 0
    cropped_head: bool = False
    cut_head: bool = False
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure and self.error <= TOLERANCE


def check(seed: int, folder: Path) -> Outcome:
    """Compare reuse with full inference on the network of a seed. folder: empty; for the model."""
    return check_network(random_network(seed), folder, seed)


def check_network(net: Net, folder: Path, seed: int) -> Outcome:
    """The same for any network on (1, 3, H, W), in canonical form. seed: of the images and boxes."""
    outcome = Outcome(seed)
    try:
        _compare(write(net, folder), outcome, np.random.default_rng(seed))
    except Exception:  # noqa: BLE001  (the failure of one network is a result)
        outcome.failure = traceback.format_exc()
    return outcome


def write(net: Net, folder: Path) -> manifest.Manifest:
    """Split and cut a network as `edge-app compile` does, and write its model folder."""
    preprocessing = SimpleNamespace(color="bgr", mean=(0.0,) * 3, std=(255.0,) * 3, resize="stretch")
    model = SimpleNamespace(name=_HEAD, net=replace(net, name=_HEAD), preprocessing=preprocessing)
    assembly = assemble.assemble([model], None, (2, 4, 8, 16))
    height, width = net.inputs[0].shape[2:]
    text = {
        "format": manifest.FORMAT, "name": "random",
        "input": {"width": width, "height": height, "layout": "nhwc", "dtype": "uint8"},
        "heads": {_HEAD: {"family": "segment", "graph": {"onnx": "head.onnx"}}},
    }  # fmt: skip
    segments, heads = assembly.on_pixels()
    head = heads[_HEAD]
    if segments:
        _describe(assembly, text)
        head = with_free_size(head) if _HEAD in assembly.cell_dependencies() else head
    for i, segment in enumerate(segments):
        (folder / f"{i}.onnx").write_bytes(any_size(segment).serialize())
    (folder / "head.onnx").write_bytes(head.serialize())
    for i, part in enumerate(_cut_head(assembly, text)):
        (folder / f"head.{i}.onnx").write_bytes(part.serialize())
    (folder / "fused.onnx").write_bytes(assembly.whole_on_pixels().serialize())
    text["fused"] = {"onnx": "fused.onnx"}
    (folder / manifest.FILE).write_text(yaml.safe_dump(text))
    return manifest.load(folder)


def _cut_head(assembly: Assembly, text: dict) -> list[Net]:
    """The head cut wherever it can be, however little work a segment has."""
    fields = {feature.name: feature.receptive_field for feature in assembly.features}
    head, (height, width) = assembly.heads[_HEAD], assembly.whole.inputs[0].shape[2:]
    strides = {value.name: field.stride for value in head.inputs if (field := fields.get(value.name)) is not None}
    segments = head_segments.cut(head, strides, (height, width), 0.0)
    if segments:
        text["heads"][_HEAD]["segments"] = [
            {"graph": {"onnx": f"head.{i}.onnx"}, "cells": _plain_cells(describe.in_pixels(segment.cells))}
            for i, segment in enumerate(segments)
        ]
    return [segment.net for segment in segments]


def _plain_cells(cells) -> dict:
    return {
        name: {"stride": output.stride, "reach": {key: list(reach) for key, reach in output.reach.items()}}
        for name, output in cells.items()
    }


def _describe(assembly: Assembly, text: dict) -> None:
    text["backbone"] = {
        "graphs": [{"onnx": f"{i}.onnx"} for i in range(len(assembly.segments))],
        "features": [feature.name for feature in assembly.features],
        "extents": {name: asdict(field) for name, field in describe.receptive_fields(assembly).items()},
    }
    text["heads"][_HEAD]["inputs"] = [value.name for value in assembly.heads[_HEAD].inputs]
    for cells in describe.output_cells(assembly).values():
        text["heads"][_HEAD]["cells"] = _plain_cells(cells)


def _compare(loaded: manifest.Manifest, outcome: Outcome, rng: np.random.Generator) -> None:
    with ExitStack() as stack:
        backend = Backend(threads=1)
        stack.callback(backend.close)
        network = Network(loaded, backend, loaded.heads, fused=True)
        stack.callback(network.close)
        settings = ReuseConfig(mode="auto", tolerance=0)
        features = open_features(loaded, backend, loaded.heads, settings, ReuseProfile())
        costs = None
        if features is not None:
            stack.callback(features.close)
            costs = Costs(1000.0, {segment.name: Cost(0.0, 1.0) for segment in features.segments})
            features.costs = costs
            _count_parts(features.segments, outcome)
        size = (loaded.input.width, loaded.input.height)
        heads = {name: HeadPolicy() for name in loaded.heads}
        reuse = FrameReuse(settings, size, heads, network.run, features=features, costs=costs)
        image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        for turn in range(_FRAMES):
            decision = reuse.decide(image, image[None], (turn + 1) * 10**8, [_HEAD], [_HEAD] if not turn else [])
            found = decision.outputs_of(_HEAD)
            if found is not None:
                _measure(found, network, image, outcome)
            image = next(_changed(image, rng))[0]
        if features is None or not features.segments[0].croppable:
            return
        features.fill(image[None])
        features.outputs_of(_HEAD)
        for changed, boxes in _changed(image, rng, count=4):
            features.update(changed[None], boxes)
            _measure(features.outputs_of(_HEAD), network, changed, outcome)
        for propagation in (NEAR, FAR, Propagation(0.0, 0.0), Propagation(0.5, 0.01)):
            features.set_propagation(propagation)
            for changed, boxes in _changed(image, rng, count=2):
                features.update(changed[None], boxes)
                features.outputs_of(_HEAD)
        rolling = RollingRefresh(features, 1000)  # renews all that limited propagation has left
        for now in range(700, 1001, 10):
            rolling.advance(now, 0, 0.0, changed=False)
            if rolling.complete:
                return _measure(features.outputs_of(_HEAD), network, changed, outcome)
        raise AssertionError("the refresh was not complete at the maximum age")


def _measure(found, network: Network, image: np.ndarray, outcome: Outcome) -> None:
    found = {name: np.array(value) for name, value in found.items()}
    for name, expected in network.run(image[None])(_HEAD).items():
        if found[name].shape != expected.shape:
            raise AssertionError(f"{name}: found {found[name].shape}; expected {expected.shape}")
        error = np.abs(found[name] - expected) / np.maximum(1, np.abs(expected))
        outcome.error = max(outcome.error, float(np.max(error, initial=0)))


def _changed(image: np.ndarray, rng: np.random.Generator, count: int = 1) -> Iterator[tuple[np.ndarray, list]]:
    """The image with new pixels in one to three boxes, and these boxes; each image is a change of the previous one."""
    height, width = image.shape[:2]
    for _ in range(count):
        image, boxes = image.copy(), []
        for _ in range(int(rng.integers(1, 4))):
            (x1, x2), (y1, y2) = (_span(rng, side) for side in (width, height))
            image[y1:y2, x1:x2] = rng.integers(0, 256, (y2 - y1, x2 - x1, 3))
            boxes.append((x1, y1, x2, y2))
        yield image, boxes


def _span(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """A short part of a side; one in four touches an end."""
    length = int(rng.integers(1, max(2, side // 4)))
    start = int(rng.choice([0, side - length, *rng.integers(0, side - length + 1, 6)]))
    return start, start + length


def _count_parts(segments, outcome: Outcome) -> None:
    outcome.segments = len(segments)
    for segment in segments:
        outcome.croppable += segment.croppable
        outcome.cropped_head |= bool(segment.head) and segment.croppable
        outcome.cut_head |= segment.name.startswith(f"head {_HEAD}/")

        def counted(maps, box, run=segment.run):
            outcome.parts += 1
            return run(maps, box)

        segment.run = counted


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print the traceback of each failure")
    given = parser.parse_args(arguments)
    outcomes = []
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as place:
            outcomes.append(outcome := check(seed, Path(place)))
        if not outcome.ok:
            last = outcome.failure.strip().splitlines()[-1:] or [f"error {outcome.error:.2g}"]
            print(f"seed {seed}: {outcome.failure if given.verbose and outcome.failure else last[0]}", flush=True)
    crashes = sum(bool(outcome.failure) for outcome in outcomes)
    wrong = sum(not outcome.ok for outcome in outcomes) - crashes
    print(
        f"{len(outcomes)} networks: {crashes} crashes, {wrong} wrong; largest error "
        f"{max(outcome.error for outcome in outcomes):.1e}; {sum(o.parts > 0 for o in outcomes)} computed in parts "
        f"({sum(o.parts for o in outcomes)} parts, {sum(o.cropped_head for o in outcomes)} with their head, "
        f"{sum(o.cut_head for o in outcomes)} with a cut head)"
    )
    return 1 if crashes or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
