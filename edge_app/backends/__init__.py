"""Inference engines, one file each. This is the contract; tests/backends/contract.py is the suite that each must pass.

A backend is `Backend(*, threads=1, precision="float")`; its library is imported there. Its class says whether
`backend: auto` may take it: `available(targets)` is cheap and true where this machine has the library, the device, and
a target of the model's; the highest `preference` wins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, Union

from numpy.typing import NDArray

from edge_app.manifest import Graph, TensorSpec

Array = NDArray[Any]


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
