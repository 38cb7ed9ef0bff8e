"""Choose and build the inference engine of a configuration.

Not here: the engines (backends/), loading graphs on one (graphs.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from edge_app import registry
from edge_app.backends import Backend, Graph, Session
from edge_app.config import ModelConfig
from edge_app.errors import ModelError
from edge_app.model.manifest import FILE, Manifest

_ON_CPUS = ("onnx", "ncnn")  # targets that need no device


def open_backend(manifest: Manifest, model: ModelConfig) -> Backend:
    """Build the configured backend; for `auto` the preferred one that this machine has and the model was compiled for.

    If there is none, the preferred one that this machine has: loading then reports which target the model lacks.
    Without graphs there is no engine to build. The precision `auto` is float here; precision.py replaces it. Raises
    ConfigError if the library is missing, ModelError if onnxruntime is to run int8 graphs that the model does not have.
    """
    if not manifest.files():
        return NoEngine()
    name = model.backend
    if name == "auto":
        name = _preferred(manifest.targets()) or _preferred(_ON_CPUS) or "onnx"
    if name == "onnx" and model.precision == "int8" and "int8" not in manifest.targets():
        raise ModelError(
            f"model.precision: found int8, but {manifest.folder / FILE} has no int8 graphs; "
            "expected float or auto, or the model compiled with --calibrate"
        )
    precision = "float" if model.precision == "auto" else model.precision
    backend: Backend = registry.build("backends", name, threads=model.threads, precision=precision)
    return backend


class NoEngine:
    """The backend of a configuration without a model: it loads nothing."""

    preference: ClassVar[int] = 0
    target = "none"
    version = "no engine"

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        return not targets

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:  # noqa: ARG002  (the protocol's)
        raise ModelError(f"{graph.path}: found no engine to load it; expected a model without graphs")

    def close(self) -> None:
        pass


def _preferred(targets: Collection[str]) -> str | None:
    engines = registry.loadable("backends").items()
    usable = [(cls.preference, engine) for engine, cls in engines if cls.available(targets)]
    return max(usable)[1] if usable else None
