"""Convert an ONNX model to an opset that the compiler, every onnxruntime in use and the NPU converter read: 13 to 19.

onnx's version converter raises older opsets. It cannot lower most newer operators, so these are lowered here: opsets 20
to 22 add types to old operators, and a few operators that are defined as functions of old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference, version_converter

from edge_app.errors import ModelError, foreign_message

OLDEST, NEWEST = 7, 22  # that a file may have
LOWEST, HIGHEST = 13, 19  # that a compiled graph has: per-channel QDQ needs 13, the NPU converter reads up to 19
_GRID_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic"}  # GridSample: opset 20 renamed them


def version_of(model: onnx.ModelProto) -> int:
    """The version of the opset of ONNX, 0 if the model imports none."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def check(version: int, path: Path) -> None:
    """Raise ModelError unless a file may have this opset."""
    if not OLDEST <= version <= NEWEST:
        raise ModelError(f"{path}: opset {version}; expected {OLDEST} to {NEWEST}: export with opset_version=17")


def converted(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in opset 13 to 19. Raises ModelError if an operator cannot be expressed there."""
    version = version_of(model)
    if version > HIGHEST:
        return _lowered(model, version, path)
    # with shapes known, Softmax keeps its axis instead of being flattened
    return model if version >= LOWEST else raised(shape_inference.infer_shapes(model), LOWEST, str(path))


def raised(model: onnx.ModelProto, version: int, where: str) -> onnx.ModelProto:
    """The model in a higher opset. where: for messages. Raises ModelError if that is not possible."""
    try:
        return version_converter.convert_version(model, version)
    except Exception as exc:  # the converter raises RuntimeError, ConvertError and others
        found = f"{where}: opset {version_of(model)} cannot be converted to {version}"
        raise ModelError(f"{found}: {foreign_message(exc)}; export with opset_version=17") from exc


def _lowered(model: onnx.ModelProto, version: int, path: Path) -> onnx.ModelProto:
    _expand_gelu(model.graph)
    new = {n.op_type for n in model.graph.node if _is_new(n.op_type, version)}
    if new:
        model = _inlined(model, sorted(new), path)
    for node in model.graph.node:
        _lower_attributes(node)
        known = onnx.defs.get_schema(node.op_type, HIGHEST, "") if onnx.defs.has(node.op_type, HIGHEST, "") else None
        if known is None or any(a.name not in known.attributes for a in node.attribute):
            raise ModelError(
                f"{path}: operator '{node.op_type}' as in opset {version} cannot be expressed in {HIGHEST}; "
                "export with opset_version=17"
            )
    others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", HIGHEST), *others])
    return model


def _expand_gelu(graph: onnx.GraphProto) -> None:
    """Replace Gelu by the nodes that PyTorch writes for older opsets: the NPU converter recognizes only this form.

    The constants are float32, since float_types.py converts the rest of the graph to it.
    """
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        approximate = next((a.s for a in node.attribute if a.name == "approximate"), b"none")
        if node.op_type != "Gelu" or approximate != b"none":
            graph.node.append(node)
            continue
        x, (y,) = node.input[0], node.output
        root, one, half = (f"{y}_gelu_{name}" for name in ("root", "one", "half"))
        for name, number in ((root, 2**0.5), (one, 1.0), (half, 0.5)):
            graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
        a, b, c, d = (f"{y}_gelu_{i}" for i in range(4))
        steps = (("Div", x, root, a), ("Erf", a, b), ("Add", b, one, c), ("Mul", x, c, d), ("Mul", d, half, y))
        graph.node.extend(helper.make_node(op, inputs, [output]) for op, *inputs, output in steps)


def _inlined(model: onnx.ModelProto, ops: Sequence[str], path: Path) -> onnx.ModelProto:
    """Replace operators by their definitions, which depend on the types of their inputs."""
    listed = {info.name for info in model.graph.value_info}
    for tensor in model.graph.initializer:
        if tensor.name not in listed:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            model.graph.value_info.append(info)
    try:
        typed = shape_inference.infer_shapes(model)
        return inliner.inline_selected_functions(typed, [("", op) for op in ops], inline_schema_functions=True)
    except Exception as exc:  # both raise many types
        found = f"operators {', '.join(ops)} cannot be expressed in opset {HIGHEST}"
        raise ModelError(f"{path}: {found}; export with opset_version=17") from exc


def _is_new(op: str, version: int) -> bool:
    """Whether an operator was added after HIGHEST, or has another meaning since then, and must be inlined."""
    if op == "GroupNormalization":  # scale and bias: one per group, since opset 21 one per channel
        return version > 20
    return not onnx.defs.has(op, HIGHEST, "")


def _lower_attributes(node: onnx.NodeProto) -> None:
    """Rename the modes of GridSample, and drop the attributes that later opsets added if they have no effect."""
    for attribute in list(node.attribute):
        if node.op_type == "GridSample" and attribute.name == "mode":
            attribute.s = _GRID_MODES.get(attribute.s, attribute.s)
        elif attribute.name in ("block_size", "output_dtype") and attribute.i == 0:
            node.attribute.remove(attribute)
