"""Recognize the model family of a graph by its outputs and last layers, and look up the family's usual preprocessing.

The decoder of the family checks whether it can read the outputs. ONNX files do not contain preprocessing: defaults from
here are reported as assumed. Not here: cutting post-processing off (tails.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.compiler.net import Net, Shape
from edge_app.errors import ConfigError, ModelError
from edge_app.geometry.boxes import Resize
from edge_app.heads import HeadSpec

Color = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The preprocessing of a model: (pixel - mean) / std, in this color order, after `resize`."""

    color: Color
    mean: Triple
    std: Triple
    resize: Resize
    pad: int = 114


@dataclass(frozen=True, slots=True)
class Family:
    """A recognized family. why: for the report. labels: a label set's name, or the labels if known."""

    name: str
    why: str
    preprocessing: Preprocessing
    labels: str | tuple[str, ...] = ()


_UNIT_RGB = Preprocessing("rgb", (0, 0, 0), (255, 255, 255), "letterbox")
_IMAGENET = Preprocessing("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "stretch")
_PREPROCESSING = {
    "yolo": _UNIT_RGB,
    "digits": _UNIT_RGB,
    "nanodet": Preprocessing("bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "letterbox"),
    "fastestdet": Preprocessing("bgr", (0, 0, 0), (255, 255, 255), "stretch"),
    "ultraface": Preprocessing("rgb", (127, 127, 127), (128, 128, 128), "stretch"),
    "yunet": Preprocessing("bgr", (0, 0, 0), (1, 1, 1), "letterbox"),
    "classify": _IMAGENET,
    "segment": _IMAGENET,
    "embed": Preprocessing("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "stretch"),
}
_YOLOX = Preprocessing("bgr", (0, 0, 0), (1, 1, 1), "letterbox")


def recognize(net: Net, requested: str | None, labels: int) -> Family:
    """Return the family of a graph. requested: the value of --family; labels: the number of --labels, 0 for none.

    Raises ModelError if no family, or not the requested one, can decode the outputs.
    """
    outputs = _outputs(net)
    if requested is not None:
        if requested not in registry.names("heads"):
            raise ConfigError(f"--family: found '{requested}'; expected one of {', '.join(registry.names('heads'))}")
        _decodable(net, requested, outputs)
        return _with_labels(Family(requested, "given by --family", _preprocessing(net, requested)), outputs, labels)
    for name, why, matches in _MATCHERS:
        if matches(net, outputs, labels) and _accepts(net, name, outputs):
            return _with_labels(Family(name, why, _preprocessing(net, name)), outputs, labels)
    shapes = ", ".join(f"{o.name} {o.shape}" for o in outputs)
    raise ModelError(
        f"{net.name}: no known family has the outputs {shapes}; expected one of {', '.join(registry.names('heads'))}, "
        "or --family"
    )


def head_spec(net: Net, name: str, family: str, labels: tuple[str, ...]) -> HeadSpec:
    """The specification from which the family's decoder is built."""
    height, width = net.inputs[0].shape[2:]
    return HeadSpec(name, family, labels, (width or 0, height or 0), outputs=_outputs(net))


def _outputs(net: Net) -> tuple[TensorSpec, ...]:
    values = net.values()
    return tuple(TensorSpec(name, values[name].shape, values[name].dtype) for name in net.outputs)


def _decodable(net: Net, family: str, outputs: tuple[TensorSpec, ...]) -> None:
    height, width = net.inputs[0].shape[2:]
    registry.build("heads", family, HeadSpec(net.name, family, (), (width or 0, height or 0), outputs=outputs))


def _accepts(net: Net, family: str, outputs: tuple[TensorSpec, ...]) -> bool:
    try:
        _decodable(net, family, outputs)
    except ModelError:
        return False
    return True


def _preprocessing(net: Net, family: str) -> Preprocessing:
    if family == "yolo" and _is_yolox(net):
        return _YOLOX
    return _PREPROCESSING.get(family, _UNIT_RGB)


def _with_labels(family: Family, outputs: tuple[TensorSpec, ...], labels: int) -> Family:
    """Labels follow from the outputs: 80 classes are those of COCO; face detectors have one."""
    if labels or family.name in ("classify", "segment", "embed"):
        return family
    if family.name in ("ultraface", "yunet"):
        return replace(family, labels=("face",))
    channels = {n for output in outputs for n in output.shape[1:]}
    return replace(family, labels="coco80") if channels & {80, 84, 85, 112, 144, 255} else family


def _shapes(outputs: tuple[TensorSpec, ...]) -> list[Shape]:
    return [output.shape for output in outputs]


def _is_fastestdet(net: Net, outputs: tuple[TensorSpec, ...], _: int) -> bool:
    shapes = _shapes(outputs)
    if any(len(shape) != 4 for shape in shapes):
        return False
    if len(outputs) == 3:
        return sorted(shape[1] or 0 for shape in shapes)[:2] == [1, 4] and len({shape[2:] for shape in shapes}) == 1
    producers = net.producers()
    last = producers.get(net.outputs[0])
    if len(outputs) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return False
    kinds = [producers[name].op for name in last.inputs if name in producers]
    return "Sigmoid" in kinds and "Softmax" in kinds


def _is_map(_: Net, outputs: tuple[TensorSpec, ...], __: int) -> bool:
    return len(outputs) == 1 and len(outputs[0].shape) == 4 and min(n or 0 for n in outputs[0].shape[2:]) > 1


def _is_vector(_: Net, outputs: tuple[TensorSpec, ...], __: int) -> bool:
    return len(outputs) == 1 and len(outputs[0].shape) in (2, 4) and all(n == 1 for n in outputs[0].shape[2:])


def _is_embedding(net: Net, outputs: tuple[TensorSpec, ...], labels: int) -> bool:
    last = net.producers().get(net.outputs[0])
    kinds = ("Div", "LpNormalization", "BatchNormalization")
    return _is_vector(net, outputs, labels) and not labels and last is not None and last.op in kinds


def _is_yolox(net: Net) -> bool:
    """YOLOX starts by slicing every second pixel."""
    first = [node for node in net.nodes if net.inputs[0].name in node.inputs]
    return len(first) == 4 and all(node.op == "Slice" for node in first)


def _levels(count: int) -> Callable[[Net, tuple[TensorSpec, ...], int], bool]:
    """Build a test: are there `count` flat outputs (1, N, C) for every N?"""

    def matches(_: Net, outputs: tuple[TensorSpec, ...], __: int) -> bool:
        shapes = _shapes(outputs)
        cells = [shape[1] for shape in shapes if len(shape) == 3]
        return len(cells) == len(shapes) and all(cells.count(n) == count for n in cells)

    return matches


def _has_distributions(net: Net, outputs: tuple[TensorSpec, ...], labels: int) -> bool:
    return _levels(2)(net, outputs, labels) and any(shape[2] == 32 for shape in _shapes(outputs))


def _has_background(net: Net, outputs: tuple[TensorSpec, ...], labels: int) -> bool:
    return _levels(2)(net, outputs, labels) and len(outputs) == 2 and any(shape[2] == 4 for shape in _shapes(outputs))


def _is_digits(_: Net, outputs: tuple[TensorSpec, ...], __: int) -> bool:
    return len(outputs) == 2 and all(len(shape) == 4 for shape in _shapes(outputs))


def _is_joined(_: Net, outputs: tuple[TensorSpec, ...], labels: int) -> bool:
    """One output (1, N, C + 32): NanoDet-Plus."""
    shapes = _shapes(outputs)
    return len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] in (112, labels + 32 if labels else 112)


def _is_any(_: Net, __: tuple[TensorSpec, ...], ___: int) -> bool:
    return True


_Matcher = Callable[[Net, tuple[TensorSpec, ...], int], bool]
_MATCHERS: tuple[tuple[str, str, _Matcher], ...] = (
    ("fastestdet", "one grid of objectness (sigmoid), boxes and classes (softmax)", _is_fastestdet),
    ("yunet", "classes, objectness, boxes and five landmarks at each stride", _levels(4)),
    ("nanodet", "class scores and box distributions of 4 x 8 bins at each stride", _has_distributions),
    ("nanodet", "class scores and box distributions of 4 x 8 bins in one output", _is_joined),
    ("ultraface", "scores with a background class, and boxes of 4", _has_background),
    ("digits", "one grid of class scores and edge distances", _is_digits),
    ("embed", "one vector, normalized at the end", _is_embedding),
    ("classify", "one vector of class scores", _is_vector),
    ("segment", "one map of class scores", _is_map),
    ("yolo", "grids or cells of boxes and class scores", _is_any),
)
