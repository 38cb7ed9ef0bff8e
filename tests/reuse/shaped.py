"""Models whose graphs have one fixed shape each, on onnxruntime and on a fake of the vendor's library.

onnxruntime runs real networks, which tests halos, borders and scales. The fake librknnmrt has the vendor's buffers and
layouts, but computes each cell on its own, so it does not test halos. Neither shows how an NPU behaves.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from edge_app.compiler import net, onnx_file
from edge_app.config.reuse import ReuseConfig
from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from edge_app.reuse.propagation import EXACT
from tests.backends.rknn_files import Feature, Image, Output, write
from tests.plugins.backends.one_shape import TARGET, Backend


def in_shapes(folder: Path, sizes, precision: str = "onnx") -> manifest.Manifest:
    """Add graphs for TARGET to a compiled folder, for the whole image and every size. precision: of the source."""
    loaded = manifest.load(folder)
    path = folder / manifest.FILE
    text = yaml.safe_load(path.read_text())
    whole = (loaded.input.width, loaded.input.height)
    strides = {"image": 1} | {name: extent.stride for name, extent in loaded.backbone.extents.items()}

    def resize(source: str) -> list[dict]:
        shapes = []
        for width, height in (whole, *sizes):
            name = f"{source}.{width}x{height}.rknn"
            (folder / name).write_bytes(sized(onnx_file.read(folder / source), (width, height), strides))
            shapes.append({"width": width, "height": height, "file": name})
        return shapes

    segments = [resize(graph[precision]) for graph in text["backbone"]["graphs"]]
    parts = [onnx_file.read(folder / graph[precision]) for graph in text["backbone"]["graphs"]]
    (folder / "backbone.rknn").write_bytes(sized(joined(parts, loaded.backbone.features), whole, strides))
    text["backbone"]["graphs"][0][TARGET] = "backbone.rknn"
    heads = {}
    for name, head in text["heads"].items():
        found = resize(head["graph"][precision]) if "cells" in head else None
        head["graph"][TARGET] = found[0]["file"] if found else head["graph"][precision]
        if found:
            heads[name] = found
    text["shapes"] = {TARGET: {"backbone": segments, "heads": heads}} if sizes else {}
    text.pop("sha256", None)
    path.write_text(yaml.safe_dump(text))
    return manifest.load(folder)


def joined(parts: list[net.Net], features) -> net.Net:
    """Join the segments into one graph, as compiled for NPUs."""
    whole = parts[0]
    for part in parts[1:]:
        whole = net.join("backbone", whole, part, [*whole.outputs, *part.outputs])
    whole.outputs = list(features)
    return whole


def sized(graph: net.Net, size, strides) -> bytes:
    """Fix the input size of a graph."""
    graph.declared = {}
    inputs = []
    for value in graph.inputs:
        cells = tuple(-(-side // strides[value.name]) for side in size[::-1])
        pixels = value.dtype == "uint8"
        inputs.append(replace(value, shape=(1, *cells, 3) if pixels else (1, value.shape[1], *cells)))
    graph.inputs = inputs
    return graph.to_model().SerializeToString()


def on_a_fake(folder: Path, target: str, format_: int) -> manifest.Manifest:
    """A model of files for the fake runtimes: two segments and a head, 128x96 and 64x64 of it.

    The scale of a tensor differs a little between the graphs that it connects, since each conversion rounds it.
    """

    def step(name, inputs, outputs):
        shapes = []
        for width, height in ((128, 96), (64, 64)):
            file = f"{name}.{width}x{height}.rknn"
            tensors = [[build(width, height) for build in side] for side in (inputs, outputs)]
            write(folder / file, *tensors, platforms=(target,), format_=format_)
            shapes.append({"width": width, "height": height, "file": file})
        return shapes

    segments = [
        step("b0", [lambda w, h: Image("image", h, w, row=w + 8)],
             [lambda w, h: Output("c4", 20, h // 4, w // 4, -100, 0.01)]),
        step("b1", [lambda w, h: Feature("c4", 20, h // 4, w // 4, -100, 0.0100001)],
             [lambda w, h: Output("c8", 33, h // 8, w // 8, 10, 0.012, row=w // 8 + 3, gain=0.7)]),
    ]  # fmt: skip
    head = step("y", [lambda w, h: Feature("c8", 33, h // 8, w // 8, 10, 0.0119999)],
                [lambda w, h: Output("y", 4, h // 8, w // 8, -128, 0.007)])  # fmt: skip
    text = {
        "format": 1, "name": "fake", "input": {"width": 128, "height": 96, "layout": "nhwc", "dtype": "uint8"},
        "backbone": {
            "graphs": [{target: segments[0][0]["file"]}], "features": ["c8"],
            "extents": {
                "c4": {"stride": 4, "low": 0, "high": 3, "channels": 20},
                "c8": {"stride": 8, "low": 0, "high": 7, "channels": 33},
            },
        },
        "heads": {
            "y": {
                "family": "segment", "inputs": ["c8"], "graph": {target: head[0]["file"]},
                "cells": {"y": {"stride": 8, "reach": {"c8": [0, 0]}}},
            }
        },
        "shapes": {target: {"backbone": segments, "heads": {"y": head}}},
    }  # fmt: skip
    (folder / manifest.FILE).write_text(yaml.safe_dump(text))
    return manifest.load(folder)


def assert_parts_equal_the_whole(loaded: manifest.Manifest, backend) -> None:
    """Compare bit by bit, for dirty boxes in corners, at borders and elsewhere."""
    size = (loaded.input.width, loaded.input.height)
    with ExitStack() as stack:
        part, full = features(loaded, stack, backend), features(loaded, stack, backend)
        part.costs = Costs(1.0, {name: Cost(0.0, 1.0) for name in part.costs.segments})
        rng = np.random.default_rng(3)
        image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        part.fill(image[None])
        outputs(part, loaded.heads)
        for x, y in ((0, 0), (size[0] - 16, size[1] - 16), (48, 32), (size[0] - 16, 0), (16, 64), (64, 16)):
            image = image.copy()
            image[y : y + 16, x : x + 16] = rng.integers(0, 256, (16, 16, 3))
            part.update(image[None], [(x, y, x + 16, y + 16)])
            found = outputs(part, loaded.heads)
            assert part.spent_ms < len(part.segments)  # no segment ran as a whole
            full.fill(image[None])
            for head, named in outputs(full, loaded.heads).items():
                for name, values in named.items():
                    assert np.array_equal(found[head][name], values), f"{head}/{name}"


def features(loaded: manifest.Manifest, stack: ExitStack, backend=None, propagation=EXACT) -> FeatureCache:
    backend = backend or Backend()
    found = open_features(loaded, backend, loaded.heads, ReuseConfig(tolerance=0), ReuseProfile())
    assert found is not None
    stack.callback(found.close)
    found.set_propagation(propagation)
    return found


def outputs(found: FeatureCache, heads) -> dict[str, dict[str, np.ndarray]]:
    return {name: {key: np.array(value) for key, value in found.outputs_of(name).items()} for name in heads}
