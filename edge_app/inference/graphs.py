"""Load a model's graphs on a backend, check them against the manifest, and run them.

Not here: which heads are due, decoding (stage.py); computing parts of a graph (reuse/feature_cache.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array, Backend, Session, Tensor, TensorSpec
from edge_app.errors import ModelError
from edge_app.model.manifest import FILE, Manifest, ManifestHead
from edge_app.model.schema import Input

OutputsOf = Callable[[str], Mapping[str, Array]]


class Network:
    """Backbone and first-stage heads. Raises ModelError if files, connections and manifest do not match.

    Outputs of heads without a batch axis get one.

    heads: the heads to load. fused: use the model's fused graph if it has one for exactly these heads: passing features
    from graph to graph costs 5 to 20 % (compiler/README.md).
    outputs: by head, its output tensors.
    """

    def __init__(self, manifest: Manifest, backend: Backend, heads: Collection[str], *, fused: bool) -> None:
        self._manifest = manifest
        self._backend = backend
        self._fused: Session | None = None
        self._backbone: list[Session] = []
        self._heads: dict[str, Session | None] = {}
        self._stack = ExitStack()
        with self._stack:
            whole = {name for name, spec in manifest.heads.items() if spec.whole_image}
            file = manifest.fused.get(backend.target) if fused and set(heads) == whole else None
            if file is None:
                self.outputs = self._load_parts(heads, self._stack)
            else:
                with ExitStack() as stack:  # report a damaged graph now, not when a head is disabled
                    self._load_parts(heads, stack)
                self._backbone, self._heads = [], {}
                self._fused = self._load_fused(file)
                self.outputs = {name: self._outputs_of_fused(name) for name in heads}
            self._stack = self._stack.pop_all()

    def run(self, tensor: NDArray[Any]) -> OutputsOf:
        """Run the shared graphs. Returns a function from a head's name to its outputs, valid until the next run."""
        if self._fused is None:
            tensors = self._run_backbone(tensor)
            return lambda name: self._run_head(name, tensor, tensors)
        found: dict[str, dict[str, Array]] = {}
        for key, value in self._fused.run(_image(self._fused, tensor)).items():
            head, _, output = key.partition("/")
            found.setdefault(head, {})[output] = _array(value)
        return lambda name: found[name]

    def load_second_stage(self, spec: ManifestHead) -> Session:
        """The graph of a head that takes crops."""
        assert spec.graph is not None
        assert spec.crops is not None
        graph = self._manifest.graph(spec.graph, self._backend.target)
        session = with_batch(self._backend.load(graph))
        self._stack.callback(session.close)
        self._check_input(session, graph.path.name, spec.crops.input)
        return session

    def close(self) -> None:
        """Free the graphs. The caller closes the backend."""
        self._stack.close()

    def _load_parts(self, heads: Collection[str], stack: ExitStack) -> dict[str, tuple[TensorSpec, ...]]:
        self._backbone = self._load_backbone(stack)
        features = self._features(self._backbone)
        outputs = {}
        for name in heads:
            spec = self._manifest.heads[name]
            session = self._heads[name] = self._load_head(spec, features, stack)
            outputs[name] = session.outputs if session else tuple(features[feature] for feature in spec.inputs)
        return outputs

    def _load_fused(self, file: str) -> Session:
        session = self._backend.load(self._manifest.file(file))
        self._stack.callback(session.close)
        self._check_input(session, file)
        return session

    def _outputs_of_fused(self, head: str) -> tuple[TensorSpec, ...]:
        assert self._fused is not None
        parts = ((output.name.partition("/"), output) for output in self._fused.outputs)
        return tuple(replace(output, name=name) for (owner, _, name), output in parts if owner == head)

    def _load_backbone(self, stack: ExitStack) -> list[Session]:
        backbone = self._manifest.backbone
        if backbone is None:
            return []
        sessions: list[Session] = []
        for position, graph in enumerate(self._manifest.backbone_graphs(self._backend.target)):
            session = self._backend.load(graph, keep=backbone.features)  # inside the engine, for the heads
            stack.callback(session.close)
            if position == 0:
                self._check_input(session, graph.path.name)
            sessions.append(session)
        return sessions

    def _load_head(self, spec: ManifestHead, features: Mapping[str, TensorSpec], stack: ExitStack) -> Session | None:
        """Load a head's graph and check its inputs. None if the head has no graph and decodes features."""
        if spec.graph is None:
            return None
        graph = self._manifest.graph(spec.graph, self._backend.target)
        session = with_batch(self._backend.load(graph))
        stack.callback(session.close)
        if spec.inputs:
            self._check_head_inputs(spec, session, features)
        else:
            self._check_input(session, graph.path.name)
        return session

    def _run_backbone(self, tensor: NDArray[Any]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for position, session in enumerate(self._backbone):
            feeds = {spec.name: tensors[spec.name] for spec in session.inputs} if position else _image(session, tensor)
            tensors.update(session.run(feeds))
        return tensors

    def _run_head(self, name: str, tensor: NDArray[Any], tensors: Mapping[str, Tensor]) -> dict[str, Array]:
        session = self._heads[name]
        inputs = {feature: tensors[feature] for feature in self._manifest.heads[name].inputs}
        if session is None:
            return {feature: _array(value) for feature, value in inputs.items()}
        feeds = inputs or _image(session, tensor)
        return {output: _array(value) for output, value in session.run(feeds).items()}

    def _check_input(self, session: Session, file: str, expected: Input | None = None) -> None:
        expected = expected or self._manifest.input
        found = session.inputs[0]
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise ModelError(
                f"{self._where()}: {file} has {len(session.inputs)} inputs ({names}); expected only the image"
            )
        fits = len(found.shape) == 4 and all(f in (None, e) for f, e in zip(found.shape, expected.shape))
        if not fits or found.dtype != expected.dtype:
            hint = "" if found.dtype in ("float32", "uint8") else ": edge-app compile converts it"
            raise ModelError(
                f"{self._where()}: input says {expected.dtype}{expected.shape} ({expected.layout}); "
                f"{file} takes '{found.name}' {found.dtype}{_shape(found)}{hint}"
            )

    def _features(self, backbone: Sequence[Session]) -> dict[str, TensorSpec]:
        """The outputs of the backbone, by name. Raises ModelError if a feature of the manifest is missing."""
        found = {spec.name: spec for session in backbone for spec in session.outputs}
        for name in self._manifest.backbone.features if self._manifest.backbone and backbone else ():
            if name not in found:
                raise ModelError(
                    f"{self._where()}: backbone.features: no graph has the output '{name}'; found {', '.join(found)}"
                )
        return found

    def _check_head_inputs(self, spec: ManifestHead, session: Session, features: Mapping[str, TensorSpec]) -> None:
        wanted = {tensor.name: tensor for tensor in session.inputs}
        if set(wanted) != set(spec.inputs):
            raise ModelError(
                f"{self._where()}: heads.{spec.name}.inputs: found {', '.join(spec.inputs)}; "
                f"its graph takes {', '.join(wanted)}"
            )
        for name, tensor in wanted.items():
            if not _agree(tensor.shape, features[name].shape):
                raise ModelError(
                    f"{self._where()}: heads.{spec.name}: its graph takes '{name}' {_shape(tensor)}; "
                    f"the backbone outputs {_shape(features[name])}"
                )

    def _where(self) -> str:
        return str(self._manifest.folder / FILE)


def with_batch(session: Session) -> Session:
    """A session whose outputs of known shape all have a batch axis in front: (N, 6) becomes (1, N, 6)."""
    shapes = {spec.name: spec.shape for spec in session.outputs if spec.shape}
    missing = {name for name, shape in shapes.items() if len(shape) == 1 or shape[0] not in (1, None)}
    return _WithBatch(session, missing) if missing else session


class _WithBatch:
    """Adds the axis to some outputs of a session."""

    def __init__(self, session: Session, missing: Collection[str]) -> None:
        self._session, self._missing = session, missing
        self.inputs = session.inputs
        self.outputs = tuple(
            replace(spec, shape=(1, *spec.shape)) if spec.name in missing else spec for spec in session.outputs
        )

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        outputs = self._session.run(feeds)
        return {name: _array(value)[None] if name in self._missing else value for name, value in outputs.items()}

    def close(self) -> None:
        self._session.close()


def _image(session: Session, tensor: NDArray[Any]) -> dict[str, Tensor]:
    return {session.inputs[0].name: tensor}


def _array(value: Tensor) -> Array:
    return value if isinstance(value, np.ndarray) else value.array()


def _agree(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b))


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in spec.shape) + ")"
