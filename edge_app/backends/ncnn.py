"""ncnn on the CPU: 32-bit ARM boards without an NPU, for which no onnxruntime exists. Runs on every other CPU too.

A graph has two files: NAME.param, which the manifest names, and NAME.bin in its folder. All arithmetic and storage is
float32: the engine's own default, 16-bit storage, changes outputs by up to 0.09. A kept output stays in the engine's
memory and is an input of the next graph without a copy.
Not here: checking .param files (_ncnn_param.py), a first run in another process (_ncnn_trial.py), making them
(compiler/).
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from edge_app.backends import Array, Graph, Tensor, TensorSpec, _ncnn_param, _ncnn_trial, weights_file
from edge_app.errors import BackendError, ConfigError, EdgeError, ModelError, foreign_exception, foreign_text
from edge_app.options import Range
from edge_app.options.files import MIB

_MAX_PARAM = 4 * MIB
_FREE = 64  # the size that a trial gives a free dimension
_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed")


class Backend:
    """ncnn in float32.

    threads: per inference. precision: only `float`; ConfigError for `int8`, because the compiler makes no such files.
    """

    extra = "ncnn"
    preference = -1  # onnxruntime, where it exists, is faster on all models measured (edge_app/bench/RESULTS.md)
    target = "ncnn"

    def __init__(self, *, threads: Annotated[int, Range(1, 64)] = 1, precision: str = "float") -> None:
        if precision == "int8":
            raise ConfigError("model.precision: found int8; expected float: ncnn's files are float32")
        import ncnn

        self._ncnn = ncnn
        self._threads = threads

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        return "ncnn" in targets and importlib.util.find_spec("ncnn") is not None

    @property
    def version(self) -> str:
        return f"ncnn {self._ncnn.__version__}"

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load NAME.param and NAME.bin. A graph without a listed hash is run once in a separate process first."""
        param = self._read(graph)
        weights = graph.weights or Graph(graph.path.with_name(_weights_name(graph)), None, graph.folder)
        size = len(weights.read())
        if graph.sha256 is None:
            _ncnn_trial.run_once(graph)
        net = self._ncnn.Net()
        for option in _HALF:
            if hasattr(net.opt, option):  # older versions lack some
                setattr(net.opt, option, False)
        net.opt.num_threads = self._threads
        net.opt.use_vulkan_compute = False
        # From the files, not from memory: the engine then reads one layer at a time.
        if net.load_param(str(graph.path)) != 0:
            raise ModelError(f"{graph.path}: ncnn cannot load it; expected a graph for {self.version}")
        if net.load_model(str(weights.path)) != 0:
            net.clear()
            raise ModelError(f"{weights.path}: found {size:,} bytes; expected all weights of {graph.path.name}")
        return Session(self._ncnn, net, str(graph.path), param, keep=frozenset(keep), weights=size)

    def close(self) -> None:
        """No resources to release: sessions release their own."""

    def _read(self, graph: Graph) -> _ncnn_param.Param:
        try:
            return _ncnn_param.parse(graph.read(_MAX_PARAM), self._is_layer)
        except ValueError as exc:
            found = "is not text" if isinstance(exc, UnicodeDecodeError) else str(exc)
            raise ModelError(f"{graph.path}: not a graph of ncnn: {found}") from exc

    def _is_layer(self, type_: str) -> bool:
        return bool(self._ncnn.layer_to_index(type_) >= 0)


class Session:
    """One graph in ncnn."""

    def __init__(
        self, ncnn: Any, net: Any, path: str, param: _ncnn_param.Param, *, keep: frozenset[str], weights: int
    ) -> None:
        self._ncnn, self._net, self._path, self._keep, self._weights = ncnn, net, path, keep, weights
        self._inputs = [_Input(ncnn, tensor, path) for tensor in param.inputs]
        self._outputs = param.outputs or self._probed(param.ends)
        self.inputs = tuple(tensor.spec for tensor in param.inputs)
        self.outputs = tuple(tensor.spec for tensor in self._outputs)
        self._kept: dict[str, Any] = {}  # by output: the engine's tensor of the last run

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of the weights' file, and of the buffers of the inputs. The engine does not report its own."""
        return self._weights, sum(each.view.nbytes for each in self._inputs if each.view is not None)

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self._net is None:
            raise BackendError(f"{self._path}: the session is closed")
        extractor = self._net.create_extractor()
        for each in self._inputs:
            code = extractor.input(each.blob, each.feed(feeds))
            if code != 0:
                raise BackendError(f"{self._path}: ncnn does not take the input '{each.spec.name}': code {code}")
        return {tensor.spec.name: self._take(extractor, tensor) for tensor in self._outputs}

    def close(self) -> None:
        self._kept.clear()
        if self._net is not None:
            self._net.clear()
        self._net = None

    def kept(self, name: str) -> Any:
        """The engine's tensor of a kept output. Raises BackendError after close."""
        if name not in self._kept:
            raise BackendError(f"the tensor '{name}' has been released: its session is closed")
        return self._kept[name]

    def _take(self, extractor: Any, tensor: _ncnn_param.Tensor) -> Tensor:
        value = self._extract(extractor, tensor.blob)
        name = tensor.spec.name
        if name in self._keep:
            self._kept[name] = value
            return Handle(tensor.spec, self)
        return np.array(shaped(value.numpy(), tensor.spec))  # a copy: the engine's memory is freed with its graph

    def _extract(self, extractor: Any, blob: str) -> Any:
        try:
            code, value = extractor.extract(blob)
        except (RuntimeError, MemoryError) as exc:
            raise BackendError(f"{self._path}: ncnn failed: {foreign_exception(exc)}") from exc
        if code != 0 or value.empty():
            raise BackendError(f"{self._path}: ncnn failed at the output '{foreign_text(blob)}': code {code}")
        return value

    def _probed(self, blobs: tuple[str, ...]) -> tuple[_ncnn_param.Tensor, ...]:
        """The outputs of a graph that does not declare them, by a run on zeros."""
        extractor = self._net.create_extractor()
        for each in self._inputs:
            zeros = np.zeros([size or 1 for size in each.spec.shape], each.spec.dtype)
            extractor.input(each.blob, each.feed({each.spec.name: zeros}))
        shapes = [(1, *self._extract(extractor, blob).numpy().shape) for blob in blobs]
        return tuple(_ncnn_param.Tensor(blob, TensorSpec(blob, shape, "float32")) for blob, shape in zip(blobs, shapes))


class Handle:
    """A tensor in ncnn's memory: the last output of a session."""

    def __init__(self, spec: TensorSpec, session: Session) -> None:
        self.spec, self._session = spec, session

    @property
    def value(self) -> Any:
        return self._session.kept(self.spec.name)

    def array(self) -> Array:
        return np.array(shaped(self.value.numpy(), self.spec))


class _Input:
    """An input with its buffer in the engine's layout, which is kept while the shape stays the same."""

    def __init__(self, ncnn: Any, tensor: _ncnn_param.Tensor, path: str) -> None:
        self._ncnn, self.blob, self.spec, self._path = ncnn, tensor.blob, tensor.spec, path
        self._dtype = np.dtype(self.spec.dtype)
        self._shape: tuple[int, ...] = ()
        self._mat: Any = None
        self.view: Array | None = None

    def feed(self, feeds: Mapping[str, Tensor]) -> Any:
        """The engine's tensor for this input. Raises BackendError if it is missing or does not fit."""
        name = self.spec.name
        if name not in feeds:
            raise BackendError(f"{self._path}: input '{name}' is missing; found {', '.join(feeds) or 'none'}")
        value = feeds[name]
        if isinstance(value, Handle):
            return value.value
        array = value if isinstance(value, np.ndarray) else value.array()
        if array.dtype != self._dtype or not self.spec.accepts(array.shape):
            expected = f"expected {self._dtype}{self.spec.shape}"
            raise BackendError(f"{self._path}: input '{name}': found {array.dtype}{array.shape}, {expected}")
        # Pixels (H, W, 3) become float32 planes. The engine's tensors have no batch.
        planes = array[0].transpose(2, 0, 1) if self._dtype == np.uint8 else array[0]
        if self.view is None or planes.shape != self._shape:
            self._shape = planes.shape
            self._mat = self._ncnn.Mat(*planes.shape[::-1])
            self.view = self._mat.numpy()
        np.copyto(self.view, planes)
        return self._mat


def run_trial() -> None:
    """The process of a trial: exit code 1 and one line on stderr if the graph in argv cannot be used."""
    path = Path(sys.argv[1])
    try:
        graph = Graph(path, None)
        session = Backend().load(Graph(path, hashlib.sha256(graph.read()).hexdigest()))
        session.run({s.name: np.zeros([size or _FREE for size in s.shape], s.dtype) for s in session.inputs})
    except EdgeError as exc:
        sys.exit(str(exc).partition(": ")[2])


def shaped(value: Array, spec: TensorSpec) -> Array:
    """An output of the engine, which has no batch and drops dimensions of one, in its declared shape.

    Raises BackendError if the numbers of elements differ.
    """
    if value.ndim + 1 == len(spec.shape) and spec.accepts((1, *value.shape)):
        return value[None]
    sizes = [-1 if size is None else size for size in spec.shape]
    if sizes.count(-1) > 1:
        raise BackendError(f"output '{spec.name}': found {value.shape}, expected {spec.shape}")
    try:
        return value.reshape(sizes)
    except ValueError as exc:
        raise BackendError(f"output '{spec.name}': found {value.shape}, expected {spec.shape}") from exc


def _weights_name(graph: Graph) -> str:
    return weights_file(graph.path.name) or f"{graph.path.name}.bin"
