"""From whole models to backbone and heads, and the proof that nothing has changed.

Not here: files (build.py), int8 (quantise.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_app.compiler import canonical, frontend, share, split
from edge_app.compiler.cells import Cells, cells
from edge_app.compiler.net import Net, join
from edge_app.compiler.origin import Original
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.session import Array, Session
from edge_app.compiler.split import Feature
from edge_app.errors import ModelError
from edge_app.frame import UInt8

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Assembly:
    """Graphs on float32 planes `core`, and on the camera's pixels.

    backbone: None where there is none. segments: the same in order, cut for engines that can run a part of a picture.
    heads: by name, behind it. mean, std: BGR, what the pixels undergo.
    """

    backbone: Net | None
    segments: tuple[Net, ...]
    heads: dict[str, Net]
    features: tuple[Feature, ...]
    whole: Net
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cuts: tuple[Feature, ...] = ()

    def on_pixels(self, *, one_pass: bool = True) -> tuple[list[Net], dict[str, Net]]:
        """Segments and heads for onnxruntime: the first one takes the camera's image. one_pass: see frontend."""
        segments = list(self.segments)
        if segments:
            return [self._on_pixels(segments[0], one_pass), *segments[1:]], dict(self.heads)
        return [], {name: self._on_pixels(net, one_pass) for name, net in self.heads.items()}

    def maps(self) -> tuple[Feature, ...]:
        """Every map that leaves a segment: the features, and where segments were cut at others."""
        return (*self.features, *self.cuts)

    def cells(self) -> dict[str, dict[str, Cells]]:
        """By head: where the cells of its outputs lie, of the heads that can be run on a rectangle."""
        strides = {f.name: f.extent.stride for f in self.features if f.extent is not None}
        found = {
            name: cells(net, {value.name: strides[value.name] for value in net.inputs if value.name in strides})
            for name, net in self.heads.items()
            if self.segments
        }
        return {name: each for name, each in found.items() if each is not None}

    def whole_on_pixels(self, *, one_pass: bool = True) -> Net:
        return self._on_pixels(self.whole, one_pass)

    def _on_pixels(self, net: Net, one_pass: bool) -> Net:
        return frontend.with_pixels(net, self.mean, self.std, one_pass=one_pass)


def assemble(originals: Sequence[Original], size: tuple[int, int] | None, cuts: Sequence[int]) -> Assembly:
    """Share one backbone among models, or split one. size: another width and height. cuts: strides to cut at."""
    nets = []
    for original in originals:
        net = frontend.core(original.net, original.picture.color)
        net.name = original.name
        nets.append(canonical.set_input_size(net, *size) if size else net)
    words = [_words(original) for original in originals]
    found = split.at_features(nets[0]) if len(nets) == 1 else share.backbone(nets, words)
    found = split.named(found)
    heads = {net.name: net for net in found.heads}
    segments = split.segments(found, cuts) if found.backbone else ()
    mean, std = originals[0].picture.mean, originals[0].picture.std
    step = -1 if originals[0].picture.color == "rgb" else 1
    whole = _whole(found)
    extra = {name for net in segments for name in net.outputs} - {feature.name for feature in found.features}
    return Assembly(
        found.backbone, segments, heads, found.features, whole, tuple(mean[::step]), tuple(std[::step]),
        split.features(whole, extra),
    )  # fmt: skip


class Runner:
    """An assembly's ONNX files, run as the device runs them: the backbone once, then every head."""

    def __init__(self, segments: Sequence[bytes], heads: dict[str, bytes]) -> None:
        self._segments = [Session(data) for data in segments]
        self._heads = {name: Session(data) for name, data in heads.items()}

    def run(self, pixels: UInt8) -> dict[str, dict[str, Array]]:
        """Outputs by head and name for one picture (H, W, 3) BGR."""
        known: dict[str, Array] = {frontend.IMAGE: pixels[None]}
        for session in self._segments:
            known.update(zip(session.outputs, session.feed({name: known[name] for name in session.inputs})))
        found = {}
        for name, session in self._heads.items():
            found[name] = dict(zip(session.outputs, session.feed({i: known[i] for i in session.inputs})))
        return found


def prove_equal(originals: Sequence[Original], runner: Runner, pictures: Pictures, rows: Sequence[int]) -> float:
    """The largest |a - b| / max(1, |b|) over all outputs, tails applied again. Raises ModelError above TOLERANCE."""
    worst = 0.0
    tails = [original.cut.tail if original.cut else None for original in originals]
    rebuilt = [Session(tail.serialize()) if tail else None for tail in tails]
    for row in rows:
        picture = pictures.pixels[row]
        results = runner.run(picture)
        for original, tail in zip(originals, rebuilt):
            found = list(results[original.name].values())
            if tail is not None:
                found = tail.feed(dict(zip(tail.inputs, found)))
            for reference, array in zip(original.run(picture), found):
                worst = max(worst, _error(original, reference, array))
    return worst


def _error(original: Original, reference: Array, found: Array) -> float:
    if reference.shape != found.shape:
        raise ModelError(
            f"{original.name}: the compiled graph gives {found.shape}, the file as published {reference.shape}"
        )
    error = float(np.max(np.abs(found - reference) / np.maximum(1, np.abs(reference)), initial=0))
    if not error <= TOLERANCE:
        raise ModelError(
            f"{original.name}: compiled, outputs differ from the file's by {error:.2g}; expected at most {TOLERANCE:g}"
        )
    return error


def _whole(found: split.Parts) -> Net:
    """Backbone and all heads as one graph, outputs named head/output, in order."""
    if found.backbone is None:
        (net,) = found.heads
        whole = net.copy()
        outputs = [(net.name, name) for name in net.outputs]
    else:
        whole, outputs = found.backbone, []
        for head in found.heads:
            prefixed = head.copy()
            for name in head.outputs:
                prefixed.rename(name, f"{head.name}/{name}")
                outputs.append((head.name, name))
            whole = join("whole", whole, prefixed, [*whole.outputs, *prefixed.outputs])
        whole.outputs = [f"{head}/{name}" for head, name in outputs]
        return whole
    for head_name, name in outputs:
        whole.rename(name, f"{head_name}/{name}")
    return whole


def _words(original: Original) -> str:
    p = original.picture
    return f"({p.color}, mean {list(p.mean)}, std {list(p.std)}, {p.resize})"
