"""ctypes binding of librknnmrt: the zero-copy subset of rknn_api.h 2.3.2. Error codes become BackendError.

RV1106 / RV1103 lack inputs_set, outputs_get, dup_context, set_core_mask and wait. Not here: the sequence of calls
(rknn_mrt.py).
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

from edge_app.errors import BackendError

QUERY_IN_OUT_NUM, QUERY_INPUT, QUERY_OUTPUT, QUERY_SDK_VERSION, QUERY_MEM_SIZE = 0, 1, 2, 5, 6
QUERY_NATIVE_INPUT, QUERY_NATIVE_OUTPUT, QUERY_NATIVE_NHWC_OUTPUT = 8, 9, 11
FLOAT32, FLOAT16, INT8, UINT8, INT16 = 0, 1, 2, 3, 4
NCHW, NHWC, NC1HWC2, UNDEFINED = 0, 1, 2, 3
QNT_NONE, QNT_DFP, QNT_AFFINE = 0, 1, 2
SYNC_TO_DEVICE, SYNC_FROM_DEVICE = 1, 2

ERRORS = {
    -1: "FAIL", -2: "TIMEOUT", -3: "DEVICE_UNAVAILABLE", -4: "MALLOC_FAIL", -5: "PARAM_INVALID", -6: "MODEL_INVALID",
    -7: "CTX_INVALID", -8: "INPUT_INVALID", -9: "OUTPUT_INVALID", -10: "DEVICE_UNMATCH", -13: "TARGET_PLATFORM_UNMATCH",
}  # fmt: skip

# rknn_context is uint32 on 32-bit ARM, uint64 everywhere else
Context = ctypes.c_uint32 if sys.maxsize < 2**32 and platform.machine().startswith("arm") else ctypes.c_uint64


class InputOutputNumber(ctypes.Structure):
    _fields_ = (("n_input", ctypes.c_uint32), ("n_output", ctypes.c_uint32))


class TensorAttr(ctypes.Structure):
    """rknn_tensor_attr, 376 bytes on every platform. w_stride: in pixels; 0 means the width."""

    _fields_ = (
        ("index", ctypes.c_uint32), ("n_dims", ctypes.c_uint32), ("dims", ctypes.c_uint32 * 16),
        ("name", ctypes.c_char * 256),
        ("n_elems", ctypes.c_uint32), ("size", ctypes.c_uint32), ("fmt", ctypes.c_int32), ("type", ctypes.c_int32),
        ("qnt_type", ctypes.c_int32), ("fl", ctypes.c_int8), ("zp", ctypes.c_int32), ("scale", ctypes.c_float),
        ("w_stride", ctypes.c_uint32), ("size_with_stride", ctypes.c_uint32), ("pass_through", ctypes.c_uint8),
        ("h_stride", ctypes.c_uint32),
    )  # fmt: skip


class TensorMem(ctypes.Structure):
    """rknn_tensor_mem, 40 bytes on every platform: 64-bit members are aligned to 8 on 32-bit ARM too."""

    _fields_ = (
        ("virt_addr", ctypes.c_void_p), ("phys_addr", ctypes.c_uint64), ("fd", ctypes.c_int32),
        ("offset", ctypes.c_int32), ("size", ctypes.c_uint32), ("flags", ctypes.c_uint32),
        ("priv_data", ctypes.c_void_p),
    )  # fmt: skip


class SdkVersion(ctypes.Structure):
    _fields_ = (("api", ctypes.c_char * 256), ("drv", ctypes.c_char * 256))


class MemSize(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_uint32), ("internal", ctypes.c_uint32), ("dma_total", ctypes.c_uint64),
        ("sram_total", ctypes.c_uint32), ("sram_free", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 10),
    )  # fmt: skip


class Library:
    """The runtime's shared library. Every method raises BackendError with the name of the error code on failure."""

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
            self._init = library.rknn_init
            self._query = library.rknn_query
            self._create_mem = library.rknn_create_mem
            self._set_io_mem = library.rknn_set_io_mem
            self._mem_sync = library.rknn_mem_sync
            self._run = library.rknn_run
            self._destroy_mem = library.rknn_destroy_mem
            self._destroy = library.rknn_destroy
        except OSError as exc:
            raise BackendError(
                f"{path}: cannot be loaded: {exc}; expected the NPU runtime built for this C library "
                "(the vendor's default build is linked against uClibc)"
            ) from exc
        except AttributeError as exc:
            raise BackendError(f"{path}: is not the NPU runtime: {exc}") from exc
        mem, attr = ctypes.POINTER(TensorMem), ctypes.POINTER(TensorAttr)
        self._init.argtypes = (
            ctypes.POINTER(Context),
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_uint32,
            ctypes.c_void_p,
        )
        self._query.argtypes = (Context, ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32)
        self._create_mem.argtypes, self._create_mem.restype = (Context, ctypes.c_uint32), mem
        self._set_io_mem.argtypes = (Context, mem, attr)
        self._mem_sync.argtypes = (Context, mem, ctypes.c_int32)
        self._run.argtypes = (Context, ctypes.c_void_p)
        self._destroy_mem.argtypes = (Context, mem)
        self._destroy.argtypes = (Context,)

    def init(self, model: bytes) -> Any:
        """Load a model into a new context. The runtime copies what it needs from `model`."""
        context = Context(0)
        code = self._init(ctypes.byref(context), model, len(model), 0, None)
        if code == -1:  # the file's header has been checked, so these causes remain
            raise BackendError(
                "rknn_init: FAIL (-1): the NPU driver is missing or busy, an operator fell back to the CPU, "
                "or memory (CMA) is exhausted"
            )
        _check("rknn_init", code)
        return context

    def query(self, context: Any, what: int, into: ctypes.Structure) -> None:
        _check(f"rknn_query {what}", self._query(context, what, ctypes.byref(into), ctypes.sizeof(into)))

    def attr(self, context: Any, what: int, index: int) -> TensorAttr:
        attr = TensorAttr(index=index)
        self.query(context, what, attr)
        return attr

    def create_mem(self, context: Any, size: int) -> Any:
        mem = self._create_mem(context, size)
        if not mem:
            raise BackendError(f"rknn_create_mem: cannot allocate {size:,} bytes of NPU memory (CMA)")
        return mem

    def set_io_mem(self, context: Any, mem: Any, attr: TensorAttr) -> None:
        _check(f"rknn_set_io_mem {attr.name.decode()}", self._set_io_mem(context, mem, ctypes.byref(attr)))

    def sync(self, context: Any, mem: Any, direction: int) -> None:
        _check("rknn_mem_sync", self._mem_sync(context, mem, direction))

    def run(self, context: Any) -> None:
        _check("rknn_run", self._run(context, None))

    def destroy_mem(self, context: Any, mem: Any) -> None:
        _check("rknn_destroy_mem", self._destroy_mem(context, mem))

    def destroy(self, context: Any) -> None:
        _check("rknn_destroy", self._destroy(context))


def _check(call: str, code: int) -> None:
    if code != 0:
        raise BackendError(f"{call}: {ERRORS.get(code, 'unknown error')} ({code})")
