"""An editable graph: nodes and weights as plain Python objects, converted from and to ONNX.

Not here: reading files (onnx_file.py), any rewriting (canonical.py, data_movement.py and others).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edge_app.compiler import opset as opsets
from edge_app.errors import ModelError, foreign_message, foreign_text

IR_VERSION = 8  # readable by every onnxruntime since 1.10
_MAX_SHAPE = 1024  # elements of a constant that may be a shape, sizes or axes
Shape = tuple[int | None, ...]
Array = NDArray[Any]


@dataclass(slots=True)
class Node:
    """One operation. An empty input name is an omitted optional input."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""

    def copy(self) -> Node:
        return Node(self.op, list(self.inputs), list(self.outputs), dict(self.attrs), self.domain)


@dataclass(frozen=True, slots=True)
class Value:
    """The type of a tensor: name, numpy dtype name, shape (None: free size)."""

    name: str
    dtype: str
    shape: Shape


@dataclass(slots=True)
class Net:
    """A graph in topological order. weights: constants by name; they are never graph inputs.

    declared: output types from the file, used if shape inference does not find them. metadata: `metadata_props` of the
    file (metadata.py reads them).
    """

    name: str
    opset: int
    inputs: list[Value]
    outputs: list[str]
    nodes: list[Node]
    weights: dict[str, Array]
    declared: dict[str, Value] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Net:
        """A copy with its own nodes. Weights are shared: passes replace arrays and never write into them."""
        return replace(
            self,
            inputs=list(self.inputs),
            outputs=list(self.outputs),
            nodes=[node.copy() for node in self.nodes],
            weights=dict(self.weights),
        )

    def producers(self) -> dict[str, Node]:
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that use each tensor; a node that uses it twice is listed twice."""
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                users.setdefault(name, []).append(node)
        return users

    def fresh(self, stem: str) -> str:
        """An unused tensor name: `stem`, or `stem` with a number."""
        used = {name for node in self.nodes for name in (*node.inputs, *node.outputs)} | set(self.weights)
        used |= {value.name for value in self.inputs}
        if stem not in used:
            return stem
        return next(name for i in range(1, len(used) + 2) if (name := f"{stem}_{i}") not in used)

    def redirect(self, old: str, new: str) -> None:
        """Replace tensor `old` by `new` in the inputs of every node and in the graph's outputs."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
        self.outputs = [new if name == old else name for name in self.outputs]

    def rename(self, old: str, new: str) -> None:
        """Rename a tensor everywhere. Raises ValueError if `new` is already in use."""
        if old == new:
            return
        if self.fresh(new) != new:
            raise ValueError(f"the name {new} is in use")
        self.redirect(old, new)
        for node in self.nodes:
            node.outputs = [new if name == old else name for name in node.outputs]
        self.inputs = [replace(value, name=new) if value.name == old else value for value in self.inputs]

    def prune(self) -> None:
        """Drop nodes and weights that no output needs, and sort the nodes topologically, otherwise in their order."""
        producers = self.producers()
        needed: set[int] = set()
        stack = list(self.outputs)
        while stack:
            node = producers.get(stack.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                stack.extend(node.inputs)
        pending = [node for node in self.nodes if id(node) in needed]
        not_yet_computed = {output for node in pending for output in node.outputs}
        order: list[Node] = []
        while pending:
            blocked = []
            for node in pending:
                if not_yet_computed.isdisjoint(node.inputs):
                    order.append(node)
                    not_yet_computed.difference_update(node.outputs)
                else:
                    blocked.append(node)
            if len(blocked) == len(pending):
                raise ModelError(f"{self.name}: the graph has a cycle at '{foreign_text(blocked[0].outputs[0])}'")
            pending = blocked
        self.nodes = order
        used = {name for node in order for name in node.inputs} | set(self.outputs)
        self.weights = {name: array for name, array in self.weights.items() if name in used}

    def values(self) -> dict[str, Value]:
        """Every tensor whose type and shape can be inferred. Raises ModelError if the graph is inconsistent."""
        model = self._model([], self._large_weights())  # without outputs, inference lists every tensor
        try:
            inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        except shape_inference.InferenceError as exc:
            raise ModelError(f"{self.name}: {foreign_message(exc)}; expected consistent shapes") from exc
        inferred_values = (_value(info) for info in (*inferred.value_info, *inferred.input) if _shape(info) is not None)
        return {value.name: value for value in inferred_values if value is not None and value.name not in self.weights}

    def _large_weights(self) -> list[Value]:
        """The large weights, of which shape inference needs only type and shape: copying them takes time and memory."""
        large = ((name, array) for name, array in self.weights.items() if array.size > _MAX_SHAPE)
        return [Value(name, array.dtype.name, array.shape) for name, array in large if array.dtype.name in _TYPES]

    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor that can be inferred; a free size is None."""
        return {name: value.shape for name, value in self.values().items()}

    def to_model(self) -> onnx.ModelProto:
        """As ONNX, with typed outputs. Raises ModelError if an output's shape cannot be inferred."""
        return self._model(self._results())

    def _results(self) -> list[Value]:
        values = self.declared | self.values()
        for name in self.outputs:
            if name not in values:
                raise ModelError(f"{self.name}: the shape of the output '{foreign_text(name)}' cannot be inferred")
        return [values[name] for name in self.outputs]

    def _model(self, results: list[Value], as_inputs: Sequence[Value] = ()) -> onnx.ModelProto:
        """as_inputs: weights to declare as inputs."""
        inputs, outputs = (
            [helper.make_tensor_value_info(v.name, _TYPES[v.dtype], list(v.shape)) for v in side]
            for side in ((*self.inputs, *as_inputs), results)
        )
        declared = {value.name for value in as_inputs}
        nodes = [
            helper.make_node(n.op, n.inputs, n.outputs, name=f"{n.op}_{n.outputs[0]}", domain=n.domain, **n.attrs)
            for n in self.nodes
        ]
        graph = helper.make_graph(nodes, self.name, inputs, outputs)
        domains = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edge_app")
        for name, array in self.weights.items():  # last and one by one: make_graph and make_model copy all of them
            if name not in declared:
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return model

    def serialize(self) -> bytes:
        """The bytes of a complete, checked ONNX file. Raises ModelError if it is invalid."""
        results = self._results()
        try:
            onnx.checker.check_model(self._model(results, self._large_weights()), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
            raise ModelError(f"{self.name}: the compiled graph is not valid ONNX: {foreign_message(exc)}") from exc
        data: bytes = self._model(results).SerializeToString()
        return data

    def parameters(self) -> int:
        return sum(array.size for array in self.weights.values() if array.dtype.kind == "f")


def from_model(model: onnx.ModelProto, name: str) -> Net:
    """Convert from ONNX. Initializers that are also listed as inputs, and Constant nodes, become weights.

    Raises ModelError if a weight's data does not fit its shape.
    """
    graph = model.graph
    weights = {tensor.name: _array(tensor, name) for tensor in graph.initializer}
    nodes = []
    for proto in graph.node:
        attrs = {a.name: _attribute(a) for a in proto.attribute}
        if proto.op_type == "Constant" and len(attrs) == 1 and (constant := _constant(attrs, name)) is not None:
            weights[proto.output[0]] = constant
            continue
        nodes.append(Node(proto.op_type, list(proto.input), list(proto.output), attrs, proto.domain))
    inputs = [value for info in graph.input if info.name not in weights and (value := _value(info)) is not None]
    opset = opsets.version_of(model) or opsets.LOWEST
    declared = {value.name: value for info in graph.output if (value := _value(info)) is not None}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    net = Net(name, opset, inputs, [info.name for info in graph.output], nodes, weights, declared, metadata)
    net.prune()
    return net


def subgraph(net: Net, name: str, inputs: Iterable[Value], outputs: Collection[str]) -> Net:
    """The part of a graph from `inputs` to `outputs`. Raises ValueError if it needs other inputs."""
    inputs = list(inputs)
    part = net.copy()
    part.name, part.inputs, part.outputs, part.declared = name, inputs, list(outputs), {}
    input_names = {value.name for value in inputs}
    part.nodes = [node for node in part.nodes if not input_names & set(node.outputs)]
    part.prune()
    available = input_names | set(part.weights) | {output for node in part.nodes for output in node.outputs} | {""}
    missing = {n for node in part.nodes for n in node.inputs} - available
    if missing:
        raise ValueError(f"{name}: needs {', '.join(sorted(missing))} beside {', '.join(sorted(input_names))}")
    return part


def join(name: str, first: Net, second: Net, outputs: Collection[str] | None = None) -> Net:
    """Append `second` to `first`: its inputs are tensors of `first`, by name. outputs: None means those of `second`.

    Other names of `second` that `first` uses too get a prefix.
    """
    joined, appended = first.copy(), second.copy()
    used_names = set(joined.weights) | {n for node in joined.nodes for n in (*node.inputs, *node.outputs)}
    used_names |= {value.name for value in joined.inputs}
    input_names = {value.name for value in second.inputs}
    names = {n for node in appended.nodes for n in (*node.inputs, *node.outputs) if n} | set(appended.weights)
    renamed = {n: f"{second.name}.{n}" for n in names & used_names - input_names}
    for node in appended.nodes:
        node.inputs = [renamed.get(n, n) for n in node.inputs]
        node.outputs = [renamed.get(n, n) for n in node.outputs]
    joined.name = name
    joined.nodes += appended.nodes
    joined.weights |= {renamed.get(n, n): array for n, array in appended.weights.items()}
    joined.outputs = list(outputs) if outputs is not None else [renamed.get(n, n) for n in appended.outputs]
    joined.declared = {}
    joined.prune()
    return joined


def _array(tensor: TensorProto, graph: str) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as exc:
        found = f"the data of '{foreign_text(tensor.name)}' do not fit its shape {tuple(tensor.dims)}"
        raise ModelError(f"{graph}: {found}; expected a complete ONNX model") from exc


def _constant(attrs: dict[str, Any], graph: str) -> Array | None:
    """The value of a Constant; None for strings and sparse tensors."""
    ((kind, value),) = attrs.items()
    if kind == "value":
        return _array(value, graph) if isinstance(value, TensorProto) else None
    dtype = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return np.array(value, dtype[kind]) if kind in dtype else None


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


_TYPES = {
    "float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "int64": TensorProto.INT64,
    "int32": TensorProto.INT32, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE, "bool": TensorProto.BOOL,
    "bfloat16": TensorProto.BFLOAT16,
}  # fmt: skip
_NAMES = {int(number): name for name, number in _TYPES.items()}


def _value(info: onnx.ValueInfoProto) -> Value | None:
    kind = _NAMES.get(int(info.type.tensor_type.elem_type))
    return None if kind is None else Value(info.name, kind, _shape(info) or ())


def _shape(info: onnx.ValueInfoProto) -> Shape | None:
    if not info.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in info.type.tensor_type.shape.dim
    )
