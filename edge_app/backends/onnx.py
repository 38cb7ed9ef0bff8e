"""onnxruntime on the CPU: laptops, tests, and boards without an NPU.

A kept output is an OrtValue, which is passed to the next graph without conversion to numpy.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np

from edge_app.backends import Array, Graph, Tensor, TensorSpec
from edge_app.errors import BackendError, ModelError, foreign_message
from edge_app.options import Range

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_AS_REQUESTED = 1  # onnxruntime's ArenaExtendStrategy: not by powers of two


class Backend:
    """onnxruntime's CPU provider.

    threads: intra-op threads per inference. The default is 1: in measurements, a second thread made small networks
    slower in a busy pipeline (edge_app/bench/README.md), which needs the other core for decoding.
    precision: `int8` runs the files that the compiler has quantized (QDQ).
    """

    extra = "onnx"
    preference = 0
    target = "onnx"

    def __init__(
        self, *, threads: Annotated[int, Range(1, 64)] = 1, precision: Literal["float", "int8"] = "float"
    ) -> None:
        import onnxruntime

        self.target = "onnx" if precision == "float" else precision
        self._ort = onnxruntime
        self._threads = threads
        _share_arena(onnxruntime)

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        return "onnx" in targets and importlib.util.find_spec("onnxruntime") is not None

    @property
    def parallel(self) -> int:
        """Sessions can be run by several threads at the same time: as many as the cores are enough for."""
        return max(1, len(os.sched_getaffinity(0)) // self._threads)

    @property
    def version(self) -> str:
        return f"onnxruntime {self._ort.__version__}"

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load an ONNX file. Weights in another file ("external data") are rejected: that file is not checked."""
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised as exceptions
        # The memory pattern caches a plan for every input shape, and reuse runs hundreds of shapes.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Files are looked for below this path, which is no folder; by default they are read from the current one.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.path))
        data = graph.read()
        try:
            session = self._ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's exceptions share no base class
            if "External data path" in str(exc):
                problem = "keeps weights in another file; expected one file: edge-app compile writes it"
            else:
                problem = f"onnxruntime cannot load it: {foreign_message(exc)}; expected an ONNX graph"
            raise ModelError(f"{graph.path}: {problem}") from exc
        session._model_bytes = None  # kept only for provider fallback; releases the memory of the file
        return Session(session, self._ort, str(graph.path), frozenset(keep))

    def close(self) -> None:
        """No resources to release: sessions release their own."""


class Session:
    """One graph in onnxruntime."""

    def __init__(self, session: Any, ort: Any, path: str, keep: frozenset[str]) -> None:
        self._session = session
        self._path = path
        self._ort_value = ort.OrtValue
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._keep = keep
        self._expected = {spec.name: (np.dtype(spec.dtype), spec) for spec in self.inputs}
        self._last_valid: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}  # usually equal to the next input

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self._check(feeds)
        try:
            if not self._keep and not any(isinstance(value, Handle) for value in feeds.values()):
                return dict(zip(self._names, self._session.run(self._names, dict(feeds))))
            values = {
                name: value.value if isinstance(value, Handle) else self._ort_value.ortvalue_from_numpy(value)
                for name, value in feeds.items()
            }
            results = self._session.run_with_ort_values(self._names, values)
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise BackendError(f"{self._path}: onnxruntime failed: {foreign_message(exc)}") from exc
        return {
            spec.name: Handle(spec, value) if spec.name in self._keep else value.numpy()
            for spec, value in zip(self.outputs, results)
        }

    def close(self) -> None:
        self._session = None

    def _check(self, feeds: Mapping[str, Tensor]) -> None:
        if self._session is None:
            raise BackendError(f"{self._path}: the session is closed")
        for name, (dtype, spec) in self._expected.items():
            if name not in feeds:
                raise BackendError(f"{self._path}: input '{name}' is missing; found {', '.join(feeds) or 'none'}")
            value = feeds[name]
            if not isinstance(value, np.ndarray) or self._last_valid.get(name) == (found := (value.dtype, value.shape)):
                continue
            if value.dtype != dtype or not spec.accepts(value.shape):
                raise BackendError(
                    f"{self._path}: input '{name}': found {value.dtype}{value.shape}, expected {dtype}{spec.shape}"
                )
            self._last_valid[name] = found


class Handle:
    """A tensor in onnxruntime's memory."""

    def __init__(self, spec: TensorSpec, value: Any) -> None:
        self.spec = spec
        self.value = value

    def array(self) -> Array:
        array: Array = self.value.numpy()
        return array


@cache
def _share_arena(ort: Any) -> None:
    """Let all sessions of this process share one memory arena, which grows only by the requested size.

    Graphs run one at a time. With an arena per session, each growing by powers of two, the shipped model took 9 MB
    more.
    """
    sizes = {"arena_extend_strategy": _AS_REQUESTED, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(sizes))


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(node.type, node.type))
