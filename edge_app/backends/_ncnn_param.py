"""Read and check ncnn's text files (.param) before the engine does: it trusts them, and reports errors on stderr.

A file has the number 7767517, the numbers of layers and blobs, and a line for each layer: type, name, numbers of inputs
and outputs, their blobs, parameters `key=value`. The engine ignores what follows; the compiler writes the tensors of
the graph there, which the format does not describe: `#edge-app {"inputs": [...], "outputs": [...]}`.
Not here: the weights (.bin), the shapes inside the graph (_ncnn_trial.py), running it (ncnn.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_app.backends import TensorSpec
from edge_app.errors import foreign_text

_MAGIC = "7767517"
_TENSORS = "#edge-app "
_MAX_LAYERS, _MAX_NAME, _MAX_KEY = 20_000, 200, 31
_MAX_SIDE = 1 << 16
_DTYPES = ("float32", "uint8")
_EXPRESSION = re.compile(r'"[\w(),.+*/-]{1,200}"')
_VALUE = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the graph: the engine's name for it, and its declaration."""

    blob: str
    spec: TensorSpec


@dataclass(frozen=True, slots=True)
class Layer:
    """One line. params: by key, with the values of an array as a tuple."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Param:
    """A graph. outputs: None if the file does not declare them; their blobs are then `ends`."""

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] | None
    ends: tuple[str, ...]


def parse(data: bytes, is_layer: Callable[[str], bool]) -> Param:
    """Read a graph. is_layer: whether the engine has a layer type. Raises ValueError: what is wrong, and where."""
    lines = data.decode("ascii", "strict").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise ValueError(f"starts with {foreign_text(lines[0], 20) if lines else 'nothing'!r}; expected {_MAGIC}")
    layer_count, blob_count = _counts(lines[1] if len(lines) > 1 else "")
    rows = lines[2 : 2 + layer_count]
    if len(rows) < layer_count:
        raise ValueError(f"ends after {len(rows)} layers; expected {layer_count}")
    layers = tuple(_layer(row, number, is_layer) for number, row in enumerate(rows, start=3))
    ends = _ends(layers, blob_count)
    declared = next((line for line in lines[2 + layer_count :] if line.startswith(_TENSORS)), None)
    if declared is None:
        return Param(layers, tuple(_stated(layer) for layer in layers if layer.type == "Input"), None, ends)
    inputs, outputs = _declared(declared.removeprefix(_TENSORS))
    begins = tuple(blob for layer in layers if layer.type == "Input" for blob in layer.outputs)
    for found, expected in ((inputs, begins), (outputs, ends)):
        if sorted(tensor.blob for tensor in found) != sorted(expected):
            raise ValueError(f"declares the tensors {[t.blob for t in found]}; its layers have {list(expected)}")
    return Param(layers, inputs, outputs, ends)


def with_tensors(text: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str:
    """The text of a .param that declares the tensors of the graph."""
    sides = {"inputs": inputs, "outputs": outputs}
    declared = {
        side: [{"blob": t.blob, "name": t.spec.name, "shape": t.spec.shape, "dtype": t.spec.dtype} for t in tensors]
        for side, tensors in sides.items()
    }
    kept = [line for line in text.splitlines() if not line.startswith(_TENSORS)]
    return "\n".join([*kept, _TENSORS + json.dumps(declared), ""])


def _counts(line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isdigit() and 0 < int(word) <= _MAX_LAYERS * 8 for word in words):
        raise ValueError(f"line 2: found '{foreign_text(line, 40)}'; expected the numbers of layers and blobs")
    if int(words[0]) > _MAX_LAYERS:
        raise ValueError(f"line 2: found {words[0]} layers; expected at most {_MAX_LAYERS}")
    return int(words[0]), int(words[1])


def _layer(row: str, number: int, is_layer: Callable[[str], bool]) -> Layer:
    words = row.split()
    if len(words) < 4 or not (words[2].isdigit() and words[3].isdigit()):
        raise ValueError(f"line {number}: found '{foreign_text(row.strip(), 60)}'; expected a layer")
    begin, end = 4 + int(words[2]), 4 + int(words[2]) + int(words[3])
    if len(words) < end or any(len(word) > _MAX_NAME for word in words[:end]):
        raise ValueError(f"line {number}: found {len(words)} words; expected {end}, of at most {_MAX_NAME} characters")
    if not is_layer(words[0]):
        raise ValueError(f"line {number}: unknown layer type '{foreign_text(words[0], 60)}'; expected one of ncnn's")
    params = dict(_param(word, number) for word in words[end:])
    return Layer(words[0], tuple(words[4:begin]), tuple(words[begin:end]), params)


def _param(word: str, number: int) -> tuple[int, tuple[float, ...]]:
    """`3=1`; `-23303=2,1,1`, an array with its length; or `6="0w,0h"`, an expression of sizes, which has no values."""
    key, _, text = word.partition("=")
    if re.fullmatch(r"\d{1,2}", key) and _EXPRESSION.fullmatch(text) and int(key) <= _MAX_KEY:
        return int(key), ()
    parts = text.split(",")
    if not re.fullmatch(r"-?\d{1,6}", key) or not all(len(p) < 32 and _VALUE.fullmatch(p.lstrip("-")) for p in parts):
        raise ValueError(f"line {number}: found '{foreign_text(word, 60)}'; expected key=value")
    index, values = int(key), tuple(float(part) for part in parts)
    if any(abs(value) >= 2**31 and "." not in part and "e" not in part for value, part in zip(values, parts)):
        raise ValueError(f"line {number}: found '{foreign_text(word, 60)}'; expected numbers of 32 bits")
    if index <= -23300:
        index = -23300 - index
        if values[0] != len(values) - 1:
            raise ValueError(f"line {number}: an array of {len(values) - 1} values; expected {parts[0]}")
        values = values[1:]
    if not 0 <= index <= _MAX_KEY:
        raise ValueError(f"line {number}: found the key {key}; expected 0 to {_MAX_KEY}")
    return index, values


def _ends(layers: tuple[Layer, ...], blob_count: int) -> tuple[str, ...]:
    """The blobs that no layer takes. Every blob is made once, before it is taken, and taken at most once."""
    open_blobs: dict[str, None] = {}
    made: set[str] = set()
    for number, layer in enumerate(layers, start=3):
        if (layer.type == "Input") != (not layer.inputs) and layer.type != "MemoryData":
            raise ValueError(f"line {number}: {layer.type} with {len(layer.inputs)} inputs; expected an Input without")
        for blob in layer.inputs:
            if blob not in open_blobs:
                found = "is taken twice" if blob in made else "is not made by an earlier layer"
                raise ValueError(f"line {number}: blob '{foreign_text(blob, 60)}' {found}; expected one Split between")
            del open_blobs[blob]
        for blob in layer.outputs:
            if blob in made:
                raise ValueError(f"line {number}: blob '{foreign_text(blob, 60)}' is made twice; expected once")
            made.add(blob)
            open_blobs[blob] = None
    if len(made) != blob_count:
        raise ValueError(f"its layers make {len(made)} blobs; expected {blob_count}, as in line 2")
    if not open_blobs:
        raise ValueError("found no output; expected a blob that no layer takes")
    return tuple(open_blobs)


def _stated(layer: Layer) -> Tensor:
    """An input as the keys 0 (width), 1 (height) and 2 (channels) of its layer state it."""
    sizes = [int(layer.params.get(key, (0,))[0]) for key in (2, 1, 0)]
    blob = layer.outputs[0] if layer.outputs else ""
    if not blob or not all(0 < size <= _MAX_SIDE for size in sizes):
        raise ValueError(
            f"its Input '{foreign_text(blob, 60)}' states no size; expected 0=WIDTH 1=HEIGHT 2=CHANNELS on that line"
        )
    return Tensor(blob, TensorSpec(blob, (1, *sizes), "float32"))


def _declared(text: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    try:
        sides = json.loads(text)
        inputs, outputs = (tuple(_tensor(entry) for entry in sides[side]) for side in ("inputs", "outputs"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"its tensors cannot be read: {foreign_text(str(exc))}; expected those of compile") from exc
    if not inputs or not outputs:
        raise ValueError("declares no inputs or no outputs; expected both")
    return inputs, outputs


def _tensor(entry: dict[str, Any]) -> Tensor:
    shape = tuple(entry["shape"])
    sizes = [1 if size is None else size for size in shape]
    if not all(isinstance(size, int) and 0 < size <= _MAX_SIDE**2 for size in sizes) or not 2 <= len(shape) <= 5:
        raise ValueError(f"shape {shape}")
    if entry["dtype"] not in _DTYPES or shape[0] != 1:
        raise ValueError(f"{entry['dtype']} {shape}")
    if entry["dtype"] == "uint8" and (len(shape) != 4 or shape[3] != 3):
        raise ValueError(f"pixels of shape {shape}")
    return Tensor(str(entry["blob"]), TensorSpec(str(entry["name"]), shape, str(entry["dtype"])))
