"""Read golden.npz, one array at a time: names, types and shapes are checked before an array is decompressed.

The archive's directory is limited in size, and an array must have exactly the shape that the caller expects, so a file
cannot take more memory than the model's own inputs and outputs. Not here: comparing the arrays (golden.py).
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Graph

MAX_INPUTS = 16
_MAX_FILE = 64 << 20
_MAX_ARRAYS = 4096
_MAX_DIRECTORY = 1 << 20
_MAX_HEADER = 4096
_END = struct.Struct("<4s4H2LH")  # the end of a ZIP directory
_ZIP64 = b"PK\x06\x07"  # marks the locator of a 64-bit directory, 20 bytes before the end record
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<|][fiub][1248])', 'fortran_order': (True|False), 'shape': \(((?:\d{1,9},? ?){0,8})\), \} *\n"
)
# Raised for damaged archives. zipfile and zlib document only the first two.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error),
    *(OSError, ValueError, LookupError, EOFError, OverflowError, RuntimeError, struct.error),
)


class GoldenFile:
    """An open golden.npz. Methods raise ValueError, with what was found, if the file is not as expected."""

    def __init__(self, file: Graph) -> None:
        """Read the file and its directory. Raises ModelError if it cannot be read or its hash differs."""
        data = file.read(_MAX_FILE)
        _check_directory(data)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self._names = frozenset(self._archive.namelist())
        except _DAMAGED as exc:
            raise ValueError(f"is not an .npz archive ({type(exc).__name__})") from exc

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._names

    def array(self, name: str, dtypes: Collection[str], shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Read one array. dtypes: those that are allowed. shape: None, only as the first size: 1 to MAX_INPUTS."""
        try:
            info = self._archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"'{name}' has an unsupported compression")
            with self._archive.open(info) as file:
                dtype, found, order, header_bytes = _read_header(file, name)
                _check(name, dtype, found, dtypes, shape)
                size = int(np.prod(found, dtype=np.int64)) * dtype.itemsize
                if info.file_size != header_bytes + size:
                    raise ValueError(f"'{name}' has {info.file_size} bytes; expected {header_bytes + size}")
                data = file.read(size)  # without a size, all that the compressed data holds
            if len(data) != size:
                raise ValueError(f"'{name}' is truncated")
            return np.frombuffer(data, dtype).reshape(found, order=order)
        except KeyError:
            raise ValueError(f"has no '{name}'") from None
        except ValueError:
            raise
        except _DAMAGED as exc:
            raise ValueError(f"'{name}' is damaged ({type(exc).__name__})") from exc


def _check_directory(data: bytes) -> None:
    """Limit the directory before zipfile reads it: a million entries take 600 MB."""
    end = len(data) - _END.size
    if end < 0:
        raise ValueError("is not an .npz archive")
    mark, _, _, _, entries, size, _, comment = _END.unpack_from(data, end)
    if mark != b"PK\x05\x06" or comment or data[max(0, end - 20) :][:4] == _ZIP64:
        raise ValueError("is not an .npz archive as numpy writes it")
    if entries > _MAX_ARRAYS or size > _MAX_DIRECTORY:
        raise ValueError(f"has {entries} arrays; expected at most {_MAX_ARRAYS}")


def _read_header(file: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...], Any, int]:
    """The header of a .npy file: dtype, shape, order (`C` or `F`), and the length of the header in bytes."""
    start = file.read(10)
    if start[:6] != _MAGIC or start[6:8] != b"\x01\x00" or len(start) < 10:
        raise ValueError(f"'{name}' is not an array of numpy's format 1.0")
    length = struct.unpack_from("<H", start, 8)[0]
    header = _HEADER.fullmatch(file.read(min(length, _MAX_HEADER)))
    if header is None:
        raise ValueError(f"'{name}' has an unsupported header; expected an array of numbers")
    shape = tuple(int(digits) for digits in re.findall(rb"\d+", header[3]))
    try:
        dtype = np.dtype(header[1].decode())
    except TypeError:
        raise ValueError(f"'{name}' has an unsupported type") from None
    return dtype, shape, "F" if header[2] == b"True" else "C", len(start) + length


def _check(
    name: str, dtype: np.dtype[Any], found: tuple[int, ...], dtypes: Collection[str], shape: tuple[int | None, ...]
) -> None:
    fits = len(found) == len(shape) and all(e in (None, f) for f, e in zip(found, shape))
    if fits and shape[:1] == (None,):
        fits = 1 <= found[0] <= MAX_INPUTS
    if not fits or dtype.name not in dtypes:
        expected = ", ".join(f"1 to {MAX_INPUTS}" if size is None else str(size) for size in shape)
        raise ValueError(f"'{name}' is {dtype.name}{list(found)}; expected {' or '.join(dtypes)}[{expected}]")
