"""Inference engines, one file each. This module is the contract; tests/backends/contract.py is its test suite.

A backend is a class `Backend(*, threads=1, precision="float")`; the constructor imports the engine's library. With
`backend: auto`, the available backend with the highest `preference` is used. A backend whose sessions several threads
may run at the same time has an attribute `parallel`: how many of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Union

from numpy.typing import NDArray

from edge_app.errors import ModelError
from edge_app.options.files import MIB, read_regular

Array = NDArray[Any]
MAX_GRAPH = 512 * MIB


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a graph: its name, shape (None for a dynamic dimension) and numpy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape matches the declared one."""
        return len(shape) == len(self.shape) and all(size in (None, n) for n, size in zip(shape, self.shape))


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph file of a model folder.

    sha256: None if the manifest lists no hash for it. folder: must contain the file; None: it may be anywhere.
    weights: the second file of a format that has two (`weights_file`); None: the format has one.
    """

    path: Path
    sha256: str | None
    folder: Path | None = None
    weights: Graph | None = None

    def read(self, max_bytes: int = MAX_GRAPH) -> bytes:
        """Read the file. Raises ModelError if that fails (`read_regular`) or its hash differs from the manifest's."""
        try:
            data = read_regular(self.path, max_bytes, inside=self.folder)
        except OSError as exc:
            raise ModelError(
                f"{self.path}: cannot be read: {exc.strerror}; expected a graph that model.yaml names"
            ) from exc
        if self.sha256 is not None:
            found = hashlib.sha256(data).hexdigest()
            if found != self.sha256:
                expected = f"expected {self.sha256[:12]}… as in model.yaml"
                raise ModelError(f"{self.path}: sha256 is {found[:12]}…; {expected}: the file is changed or damaged")
        return data


def weights_file(name: str) -> str | None:
    """The file with a graph's weights, in the same folder: NAME.bin for ncnn's NAME.param. None: the graph has them."""
    return name.removesuffix(".param") + ".bin" if name.endswith(".param") else None


class Handle(Protocol):
    """A tensor in the engine's memory, usable as an input of another graph on the same backend without a copy."""

    @property
    def spec(self) -> TensorSpec: ...

    def array(self) -> Array:
        """Copy the tensor to an array, dequantized, in the layout that the graph declares."""
        ...


Tensor = Union[Array, Handle]


class Session(Protocol):
    """A loaded graph."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the graph once. feeds: every input by name, with its declared shape and dtype.

        Returns every output by name, valid until the next run: handles for the outputs in `keep` of `load` if the
        engine supports them, otherwise arrays. Raises BackendError if an input is missing or has a wrong shape or
        dtype, or if the engine fails.
        """
        ...

    def close(self) -> None:
        """Release the graph; safe to call twice."""
        ...


class Backend(Protocol):
    """An inference engine on this machine.

    preference: `backend: auto` takes the available backend with the highest one.
    """

    preference: ClassVar[int]

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        """Whether this machine has the library and device, and `targets` (of the model) include the backend's own."""
        ...

    @property
    def target(self) -> str:
        """The key of the graph files that it loads: `onnx`, `rv1106`, `rk3588`, …"""
        ...

    @property
    def version(self) -> str:
        """The engine's name and version, for display."""
        ...

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load a graph. keep: outputs to return as handles, if the engine supports it.

        Raises ModelError if the file is missing, damaged or not a graph, BackendError if the engine rejects it.
        """
        ...

    def close(self) -> None:
        """Release the engine, after its sessions."""
        ...
