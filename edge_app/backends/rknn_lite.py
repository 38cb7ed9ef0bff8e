"""rknn-toolkit-lite2: the NPUs of RK356x, RK3576, RK3588 and RV1126B on aarch64 Linux.

One instance of the model runs on every NPU core, each with its own lock. The library returns None or an error code,
which becomes a BackendError. It cannot query a model, so names and shapes are read from the file's header.
Not here: RV1106 / RV1103, which the library does not support (rknn_mrt.py). Tested only against a fake library:
tests/backends/README.md.
"""

from __future__ import annotations

import gc
import importlib.util
import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from edge_app.backends import Array, Graph, Tensor, TensorSpec, _rknn_file, _soc
from edge_app.errors import BackendError
from edge_app.options import Positive

COLLECT_EVERY = 16  # inferences; the library leaks 42 kB of reference cycles in each, so at most 0.7 MB accumulate


class Backend:
    """RKNNLite.

    threads, precision: ignored, because the compiled file determines the precision; accepted because every backend has
    them. cores: instances of each model; 0 means one per core. soc: `auto` reads the device tree. Raises BackendError
    if the library does not support the SoC.
    """

    extra = "rknn"
    preference = 10

    def __init__(self, *, threads: Positive = 1, precision: str = "float", cores: int = 0, soc: str = "auto") -> None:
        from rknnlite.api import RKNNLite

        del threads, precision
        self.target = _soc.target(soc, _soc.LARGE)
        available = _soc.CORES.get(self.target, 1)
        if not 0 <= cores <= available:
            raise BackendError(f"cores: found {cores}; {self.target} has {available}")
        self._cores = cores or available
        self._lite = RKNNLite
        self._runtime = ""
        self._sessions: list[Session] = []
        self.notes: list[str] = []

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        """Whether the library is installed and supports this board's NPU, and the model has a file for it."""
        soc = _soc.detect()
        if soc is None or importlib.util.find_spec("rknnlite") is None:
            return False
        return soc in _soc.LARGE and _soc.target(soc, _soc.LARGE) in targets

    @property
    def parallel(self) -> int:
        """Sessions have an instance on each core."""
        return self._cores

    @property
    def version(self) -> str:
        """The name and, once a graph is loaded, the versions of the runtime and the driver."""
        return f"rknnlite {self._runtime}".strip()

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load a .rknn file for this SoC. `keep` is ignored, because the library has no zero-copy mode."""
        del keep
        _, header = _rknn_file.read(graph, self.target, _rknn_file.FULL)
        masks = [self._core_mask(core) for core in range(self._cores)]
        session = Session(self._lite, graph, header, masks)
        self._sessions.append(session)
        self._runtime = session.runtime
        self.notes += _rknn_file.version_notes(graph.path, header.version, session.runtime)
        return session

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def _core_mask(self, core: int) -> int | None:
        """The core mask, or None for SoCs with one core, which reject a mask (-13)."""
        if self.target not in _soc.CORES:
            return None
        return (self._lite.NPU_CORE_0, self._lite.NPU_CORE_1, getattr(self._lite, "NPU_CORE_2", 4))[core]


class Session:
    """One model with an instance on every core. Threads may share a session: `run` uses the first free instance."""

    def __init__(self, lite: Any, graph: Graph, header: _rknn_file.Header, masks: list[int | None]) -> None:
        self._path = str(graph.path)
        self._image = _looks_like_image(header)
        self.inputs = tuple(_input_spec(name, shape, self._image) for name, shape in header.inputs)
        self.outputs = tuple(TensorSpec(name, shape, "float32") for name, shape in header.outputs)
        self._open = True
        self._calls = 0
        with ExitStack() as stack:
            self._instances = [self._start(lite, graph, mask, stack) for mask in masks]
            self.runtime = _one_line(self._instances[0].get_sdk_version())
            self._stack = stack.pop_all()
        self._locks = [threading.Lock() for _ in masks]
        self._free = threading.Semaphore(len(masks))

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self._open:
            raise BackendError(f"{self._path}: the session is closed")
        inputs = [self._feed(spec, feeds) for spec in self.inputs]
        with self._free:
            core = next(i for i, lock in enumerate(self._locks) if lock.acquire(blocking=False))
            try:
                results = self._infer(self._instances[core], inputs)
            finally:
                self._locks[core].release()
        self._calls += 1
        if self._calls % COLLECT_EVERY == 0:
            gc.collect()
        return results

    def close(self) -> None:
        self._open = False
        self._stack.close()

    def _start(self, lite: Any, graph: Graph, mask: int | None, stack: ExitStack) -> Any:
        instance = lite()
        stack.callback(instance.release)
        code = instance.load_rknn(str(graph.path))
        if code != 0:
            raise BackendError(f"{self._path}: load_rknn returned {code}")
        code = instance.init_runtime() if mask is None else instance.init_runtime(core_mask=mask)
        if code != 0:
            raise BackendError(
                f"{self._path}: init_runtime returned {code}; expected an NPU with its driver, and a librknnrt "
                "at least as new as the model"
            )
        return instance

    def _feed(self, spec: TensorSpec, feeds: Mapping[str, Tensor]) -> Array:
        if spec.name not in feeds:
            raise BackendError(f"{self._path}: input '{spec.name}' is missing; found {', '.join(feeds) or 'none'}")
        value = feeds[spec.name]
        array = value if isinstance(value, np.ndarray) else value.array()
        if array.dtype != spec.dtype or array.shape != spec.shape:
            raise BackendError(
                f"{self._path}: input '{spec.name}': found {array.dtype}{array.shape}, "
                f"expected {spec.dtype}{spec.shape}"
            )
        return array

    def _infer(self, instance: Any, inputs: list[Array]) -> dict[str, Tensor]:
        results = instance.inference(inputs=inputs, data_format="nhwc" if self._image else "nchw")
        if results is None:
            raise BackendError(f"{self._path}: inference returned None; see the runtime's log")
        if len(results) != len(self.outputs):
            raise BackendError(f"{self._path}: inference returned {len(results)} outputs; expected {len(self.outputs)}")
        return {
            spec.name: np.asarray(array, np.float32).reshape(tuple(n or 0 for n in spec.shape))
            for spec, array in zip(self.outputs, results)
        }


def _looks_like_image(header: _rknn_file.Header) -> bool:
    """Whether the graph has one input and it is an image: (N, C, H, W) with 1, 3 or 4 channels."""
    shapes = [shape for _, shape in header.inputs]
    return len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] in (1, 3, 4)


def _input_spec(name: str, shape: tuple[int, ...], image: bool) -> TensorSpec:
    if not image:
        return TensorSpec(name, shape, "float32")
    n, c, h, w = shape
    return TensorSpec(name, (n, h, w, c), "uint8")


def _one_line(text: object) -> str:
    """The library's version text on one line, without its separators of `=`."""
    return " ".join(word for word in str(text or "").split() if word.strip("="))
