"""Inference engines, one file each. This is the contract; tests/backends/contract.py is the suite that each must pass.

A backend is `Backend(*, threads=1, precision="float")`; its library is imported there. Its class says whether
`backend: auto` may take it: `available(targets)` is cheap and true where this machine has the library, the device, and
a target of the model's; the highest `preference` wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Union

from numpy.typing import NDArray

from edge_app.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a graph: its name, shape (None: free) and numpy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph file of a model folder. sha256 None: the manifest lists none."""

    path: Path
    sha256: str | None

    def read(self) -> bytes:
        """The file's bytes. Raises ModelError where it is missing or its hash differs from the manifest's."""
        try:
            data = self.path.read_bytes()
        except OSError as exc:
            raise ModelError(
                f"{self.path}: cannot be read: {exc.strerror}; expected a graph that model.yaml names"
            ) from exc
        if self.sha256 is not None:
            found = hashlib.sha256(data).hexdigest()
            if found != self.sha256:
                expected = f"expected {self.sha256[:12]}… as model.yaml says"
                raise ModelError(f"{self.path}: sha256 is {found[:12]}…; {expected}: changed or damaged")
        return data


class Handle(Protocol):
    """A tensor in the engine's own memory. It binds as another graph's input on the same backend without a copy."""

    @property
    def spec(self) -> TensorSpec: ...

    def array(self) -> Array:
        """Copy it out: the tensor as the graph's author sees it, dequantised, in its declared layout."""
        ...


Tensor = Union[Array, Handle]


class Session(Protocol):
    """A loaded graph."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run once. feeds: every input by name, of its declared shape and dtype.

        Returns every output by name: arrays, or handles for those that `load` was told to keep; valid until the next
        run. Raises BackendError where an input is missing or of another shape or dtype, or the engine fails.
        """
        ...

    def close(self) -> None:
        """Free the graph; safe to call twice."""
        ...


class Backend(Protocol):
    """An inference engine on this machine."""

    @property
    def target(self) -> str:
        """Which file of a graph it loads: `onnx`, `rv1106`, `rk3588`, …"""
        ...

    @property
    def version(self) -> str:
        """The engine's name and version, for people."""
        ...

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """Load a graph. keep: outputs to return as handles, where the engine has memory of its own.

        Raises ModelError where the file is missing, damaged or not a graph, BackendError where the engine refuses it.
        """
        ...

    def close(self) -> None:
        """Release the engine, behind its sessions."""
        ...
