"""librknnmrt through ctypes: the NPU of RV1106 / RV1103, zero-copy.

Images are uint8 NHWC pixels, which the NPU normalizes and quantizes. Outputs are dequantized into preallocated arrays.
A kept output stays in NPU memory and is bound as an input of another graph. Not here: the C structs (_rknn_abi.py),
layouts and quantization (_rknn_layout.py). Tested only against a fake library: tests/backends/README.md.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array, Graph, Tensor, TensorSpec, _rknn_file, _soc
from edge_app.backends import _rknn_abi as abi
from edge_app.backends import _rknn_layout as layout
from edge_app.errors import BackendError
from edge_app.options import Positive

LIBRARY = "librknnmrt.so"


class Backend:
    """The RV110x NPU.

    threads, precision: ignored, because the compiled file determines the precision; accepted because every backend has
    them. library: a path, or a name that the dynamic loader finds. soc: `auto` reads the device tree. Raises
    BackendError if the library cannot be loaded or the SoC is not supported.
    """

    extra = None
    preference = 10

    def __init__(
        self, *, threads: Positive = 1, precision: str = "float", library: str = LIBRARY, soc: str = "auto"
    ) -> None:
        del threads, precision
        self.target = _soc.target(soc, _soc.SMALL)
        self._library = abi.Library(library)
        self._runtime = ""
        self._sessions: list[Session] = []
        self.notes: list[str] = []

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        """Whether this board has this NPU, and the model has a file for it."""
        soc = _soc.detect()
        return soc in _soc.SMALL and soc in targets

    @property
    def version(self) -> str:
        """The name and, once a graph is loaded, the versions of runtime and driver, which only a context reports."""
        return f"librknnmrt {self._runtime}".strip()

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load a .rknn file that was compiled for this SoC."""
        data, header = _rknn_file.read(graph, self.target, _rknn_file.MINI)
        context = self._library.init(data)
        session = Session(self._library, context, str(graph.path), header, frozenset(keep))
        self._sessions.append(session)
        self._runtime = session.runtime
        self.notes += _rknn_file.version_notes(graph.path, header.version, session.runtime)
        return session

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self._sessions.clear()


class Session:
    """One model on the NPU with its input and output buffers."""

    def __init__(
        self, library: abi.Library, context: Any, path: str, header: _rknn_file.Header, keep: frozenset[str]
    ) -> None:
        self._library, self._context, self._path = library, context, path
        self._open = True
        with ExitStack() as stack:
            stack.callback(library.destroy, context)
            counts = abi.InputOutputNumber()
            library.query(context, abi.QUERY_IN_OUT_NUM, counts)
            self.runtime = self._versions()
            self._inputs = [self._input(i, stack) for i in range(counts.n_input)]
            self._outputs = [self._output(i, keep, stack) for i in range(counts.n_output)]
            self._stack = stack.pop_all()
        self.inputs = tuple(tensor.spec for tensor in self._inputs)
        self.outputs = tuple(tensor.spec for tensor in self._outputs)
        self._results: dict[str, Tensor] = {o.spec.name: o if o.kept else o.out for o in self._outputs}
        for found, expected in ((self.inputs, header.inputs), (self.outputs, header.outputs)):
            if [spec.name for spec in found] != [name for name, _ in expected]:
                self.close()
                raise BackendError(
                    f"{path}: the runtime reports the tensors {[s.name for s in found]}; "
                    f"expected {[n for n, _ in expected]} as in the file's header"
                )

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of NPU memory for the model's weights and internal buffers."""
        size = abi.MemSize()
        self._library.query(self._context, abi.QUERY_MEM_SIZE, size)
        return int(size.weight), int(size.internal)

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self._open:
            raise BackendError(f"{self._path}: the session is closed")
        for tensor in self._inputs:
            if tensor.spec.name not in feeds:
                raise BackendError(
                    f"{self._path}: input '{tensor.spec.name}' is missing; found {', '.join(feeds) or 'none'}"
                )
            tensor.feed(feeds[tensor.spec.name])
        self._library.run(self._context)
        for output in self._outputs:
            if not output.kept:
                output.fetch()
        return self._results

    def close(self) -> None:
        self._open = False
        self._stack.close()

    def _versions(self) -> str:
        version = abi.SdkVersion()
        self._library.query(self._context, abi.QUERY_SDK_VERSION, version)
        api, driver = (text.decode(errors="replace").split(" ", 1)[0] for text in (version.api, version.drv))
        return f"{api} (driver {driver})"

    def _input(self, index: int, stack: ExitStack) -> _Input:
        native = self._library.attr(self._context, abi.QUERY_NATIVE_INPUT, index)
        declared = self._library.attr(self._context, abi.QUERY_INPUT, index)
        if layout.is_image(native):
            native.type, native.fmt, native.pass_through = abi.UINT8, abi.NHWC, 0  # the NPU normalizes and quantizes
        else:
            native.pass_through = 1  # quantized by us, or bound
        buffer = _Buffer(self._library, self._context, native, stack)
        return _Input(buffer, native, declared, self._path)

    def _output(self, index: int, keep: frozenset[str], stack: ExitStack) -> _Output:
        declared = self._library.attr(self._context, abi.QUERY_OUTPUT, index)
        name = declared.name.decode()
        native = self._native_output(index, name in keep)
        buffer = _Buffer(self._library, self._context, native, stack)
        buffer.bind()
        spec = TensorSpec(name, layout.shape_of(declared), "float32")
        return _Output(spec, buffer, native, name in keep, self)

    def _native_output(self, index: int, kept: bool) -> abi.TensorAttr:
        """The storage attributes of an output: NHWC if it is read here, the NPU's native layout if it is kept."""
        if not kept:
            try:
                return self._library.attr(self._context, abi.QUERY_NATIVE_NHWC_OUTPUT, index)
            except BackendError:
                pass  # the B variants reject this query and have only the native layout
        return self._library.attr(self._context, abi.QUERY_NATIVE_OUTPUT, index)

    @property
    def is_open(self) -> bool:
        return self._open


class _Buffer:
    """The NPU memory of one tensor, also as an array of bytes."""

    def __init__(self, library: abi.Library, context: Any, attr: abi.TensorAttr, stack: ExitStack) -> None:
        self._library, self._context, self._attr = library, context, attr
        size = attr.size_with_stride or attr.size
        self.mem = library.create_mem(context, size)
        stack.callback(library.destroy_mem, context, self.mem)
        address = self.mem.contents.virt_addr
        self.bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self._bound: Any = None

    def bind(self, mem: Any = None) -> None:
        """Make the graph use this memory, or the memory of another buffer."""
        mem = self.mem if mem is None else mem
        if mem is not self._bound:
            self._library.set_io_mem(self._context, mem, self._attr)
            self._bound = mem

    def sync(self, direction: int) -> None:
        self._library.sync(self._context, self.mem, direction)


class _Input:
    """An input. Pixels are copied; a feature map is bound if possible, otherwise quantized and copied."""

    def __init__(self, buffer: _Buffer, native: abi.TensorAttr, declared: abi.TensorAttr, path: str) -> None:
        self._buffer, self._native, self._path = buffer, native, path
        name = declared.name.decode()
        self._write: Callable[[Array], None]
        if layout.is_image(native):
            pixels = layout.image_view(native, buffer.bytes)
            self.spec = TensorSpec(name, pixels.shape, "uint8")
            self._write = lambda array: np.copyto(pixels, array)
        else:
            self.spec = TensorSpec(name, layout.shape_of(declared), "float32")
            self._write = layout.writer(layout.shape_of(declared), native, buffer.bytes)

    def feed(self, value: Tensor) -> None:
        if isinstance(value, _Output):
            value.check_open()
            if layout.compatible(value.native, self._native):
                self._buffer.bind(value.buffer.mem)
                return
            value = value.array()  # different scale or layout: convert on the CPU
        array = np.asarray(value)
        if array.dtype != self.spec.dtype or array.shape != self.spec.shape:
            raise BackendError(
                f"{self._path}: input '{self.spec.name}': found {array.dtype}{array.shape}, "
                f"expected {self.spec.dtype}{self.spec.shape}"
            )
        self._buffer.bind()
        self._write(array)
        self._buffer.sync(abi.SYNC_TO_DEVICE)


class _Output:
    """An output. If it is kept, it is also the handle that the next graph binds."""

    def __init__(self, spec: TensorSpec, buffer: _Buffer, native: abi.TensorAttr, kept: bool, session: Session) -> None:
        self.spec, self.buffer, self.native, self.kept, self._session = spec, buffer, native, kept, session
        shape = tuple(n or 0 for n in spec.shape)  # the runtime has no dynamic shapes
        self.out: NDArray[np.float32] = np.empty(shape, np.float32)
        self._read = layout.reader(shape, native, buffer.bytes, self.out)

    def fetch(self) -> None:
        """Dequantize into `out`."""
        self.buffer.sync(abi.SYNC_FROM_DEVICE)
        self._read()

    def array(self) -> Array:
        self.check_open()
        self.fetch()
        return np.array(self.out)

    def check_open(self) -> None:
        if not self._session.is_open:
            raise BackendError(f"the tensor '{self.spec.name}' has been released: its session is closed")
