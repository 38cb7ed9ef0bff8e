"""Run the backbone once for all heads that are due, then each of them, then decode.

Not here: which cells of the backbone need computing again (reuse/), what an engine is (backends/).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.backends import Array, Backend, Session, Tensor
from edge_app.boxes import Transform
from edge_app.cascade import Cascade
from edge_app.config import Head as HeadConfig
from edge_app.config import Model as ModelConfig
from edge_app.errors import BackendError, ModelError
from edge_app.frame import Frame, HeadOutput
from edge_app.heads import Head
from edge_app.manifest import FILE, Graph, HeadSpec, Input, Manifest, TensorSpec
from edge_app.preprocess import Preprocess

_FAILURES = 3
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Branch:
    """A head that is set up: its graph (None: it decodes features), its decoder, its clock."""

    spec: HeadSpec
    session: Session | None
    head: Head
    every_ns: int
    enabled: bool
    last: HeadOutput | None = None
    last_ns: int = 0

    def due(self, now_ns: int) -> bool:
        return self.enabled and (self.last is None or now_ns - self.last_ns >= self.every_ns or now_ns < self.last_ns)


def open_backend(manifest: Manifest, model: ModelConfig) -> Backend:
    """The named engine, or for `auto` the best that this machine has and the model was made for.

    Raises ConfigError where its library is missing.
    """
    name = model.backend
    if name == "auto":
        engines = [(registry.find("backends", each), each) for each in registry.names("backends")]
        usable = [(cls.preference, each) for cls, each in engines if cls.available(manifest.targets())]
        name = max(usable)[1] if usable else "onnx"
    backend: Backend = registry.build("backends", name, threads=model.threads, precision=model.precision)
    return backend


class Inference:
    """A model on a backend, which it owns: the stage that fills `Frame.heads`.

    tolerant: a head that fails gives nothing, and is switched off when it has failed three times in a row, as long as
    others go on; else every failure is raised. fused: whether one graph may do the work of all of them. Raises
    ModelError at construction where graphs, manifest and families do not fit together.
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        heads: Mapping[str, HeadConfig],
        *,
        tolerant: bool = False,
        fused: bool = True,
    ) -> None:
        self._tolerant = tolerant
        self.backend = backend.version
        self._manifest = manifest
        self._preprocess = Preprocess(manifest.input)
        self._stack = ExitStack()
        with self._stack:
            self._stack.callback(backend.close)
            first = {name: head for name, head in heads.items() if manifest.heads[name].crops is None}
            self._fused = self._load_fused(backend, first) if fused else None
            self._backbone = [] if self._fused else self._load_backbone(backend, self._stack)
            features = self._features(self._backbone)
            self._branches = {
                name: self._branch(manifest.heads[name], head, backend, features) for name, head in first.items()
            }
            self._cascades = {
                name: self._cascade(manifest.heads[name], head, backend)
                for name, head in heads.items()
                if name not in first
            }
            self._failures = dict.fromkeys(heads, 0)  # in a row
            self._failed: dict[str, str] = {}  # why a head was switched off
            self._stack = self._stack.pop_all()

    def __call__(self, frame: Frame) -> Frame:
        """Fill `frame.heads`: fresh results of the heads that are due, the last ones with their age of the others."""
        due = [branch for branch in self._branches.values() if branch.due(frame.captured_ns)]
        if due:
            tensor, transform = self._preprocess(frame)
            outputs_of = self._run(tensor)
            errors = [error for branch in due if (error := self._decode(branch, outputs_of, transform))]
            if len(errors) == len(due) and isinstance(errors[0], BackendError):
                raise errors[0]  # not one head's fault
            for branch in due:
                branch.last_ns = frame.captured_ns
        frame.heads = {
            name: branch.last
            if branch.last_ns == frame.captured_ns
            else HeadOutput(branch.last.result, frame.captured_ns - branch.last_ns)
            for name, branch in self._branches.items()
            if branch.enabled and branch.last is not None
        }
        for name, cascade in self._cascades.items():
            try:
                output = cascade(frame)
            except Exception as exc:  # noqa: BLE001  (raised by `_note_failure` where it is not tolerated)
                if self._note_failure(name, exc):
                    cascade.enabled = False
            else:
                self._failures[name] = 0
                if output is not None:
                    frame.heads[name] = output
        return frame

    def outputs(self, tensor: NDArray[Any]) -> dict[str, dict[str, Array]]:
        """Every head's raw outputs for one input tensor, copied: what golden vectors are compared with."""
        outputs_of = self._run(tensor)
        return {
            name: {key: np.array(value) for key, value in outputs_of(branch).items()}
            for name, branch in self._branches.items()
        }

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Switch a head on or off from the next frame on. Raises KeyError where there is none of that name."""
        if enabled:
            self._failures[name] = 0
            self._failed.pop(name, None)
        if name in self._cascades:
            self._cascades[name].enabled = enabled
            return
        branch = self._branches[name]
        branch.enabled = enabled
        if not enabled:
            branch.last = None

    def failed(self) -> dict[str, str]:
        """The heads that were switched off because they failed, and why."""
        return dict(self._failed)

    def enabled(self) -> dict[str, bool]:
        first = {name: branch.enabled for name, branch in self._branches.items()}
        return first | {name: cascade.enabled for name, cascade in self._cascades.items()}

    def close(self) -> None:
        self._stack.close()

    def _load_fused(self, backend: Backend, heads: Mapping[str, HeadConfig]) -> Session | None:
        """Backbone and heads in one graph, where the model has one and every head is always due: nothing to share then,
        and passing features from graph to graph costs 5 to 20 % (compiler/README.md).
        """
        name = self._manifest.fused.get(backend.target)
        wanted = {head for head, spec in self._manifest.heads.items() if spec.crops is None}
        if (
            name is None
            or set(heads) != wanted
            or any(h.common.every_s or not h.common.enabled for h in heads.values())
        ):
            return None
        self._prove_parts(backend, heads)
        session = backend.load(Graph(self._manifest.folder / name, self._manifest.sha256.get(name)))
        self._stack.callback(session.close)
        self._check_input(session, name)
        return session

    def _prove_parts(self, backend: Backend, heads: Iterable[str]) -> None:
        """Load and check what the fused graph stands for, then let go of it: a part that is damaged or does not fit
        must not wait to be noticed until the day that a head gets a clock of its own.
        """
        with ExitStack() as stack:
            features = self._features(self._load_backbone(backend, stack))
            for name in heads:
                self._load_head(self._manifest.heads[name], backend, features, stack)

    def _load_backbone(self, backend: Backend, stack: ExitStack) -> list[Session]:
        backbone = self._manifest.backbone
        if backbone is None:
            return []
        sessions: list[Session] = []
        for position, files in enumerate(backbone.graphs):
            graph = self._manifest.graph(files, backend.target)
            session = backend.load(graph, keep=backbone.features)  # features go on to the heads inside the engine
            stack.callback(session.close)
            if position == 0:
                self._check_input(session, graph.path.name)
            sessions.append(session)
        return sessions

    def _load_head(
        self, spec: HeadSpec, backend: Backend, features: Mapping[str, TensorSpec], stack: ExitStack
    ) -> Session | None:
        """A head's graph, checked against what feeds it. None: it has none, it decodes features."""
        if spec.graph is None:
            return None
        graph = self._manifest.graph(spec.graph, backend.target)
        session = backend.load(graph)
        stack.callback(session.close)
        if spec.inputs:
            self._check_head_inputs(spec, session, features)
        else:
            self._check_input(session, graph.path.name)
        return session

    def _branch(
        self, spec: HeadSpec, config: HeadConfig, backend: Backend, features: Mapping[str, TensorSpec]
    ) -> _Branch:
        session = None
        outputs: tuple[TensorSpec, ...] = ()
        if self._fused is not None:
            parts = ((each.name.partition("/"), each) for each in self._fused.outputs)
            outputs = tuple(replace(each, name=name) for (head_name, _, name), each in parts if head_name == spec.name)
        else:
            session = self._load_head(spec, backend, features, self._stack)
            outputs = session.outputs if session else tuple(features[name] for name in spec.inputs)
        head: Head = registry.build("heads", spec.family, spec.with_outputs(outputs), **config.options)
        return _Branch(spec, session, head, round(config.common.every_s * 1e9), config.common.enabled)

    def _cascade(self, spec: HeadSpec, config: HeadConfig, backend: Backend) -> Cascade:
        assert spec.graph is not None
        assert spec.crops is not None
        graph = self._manifest.graph(spec.graph, backend.target)
        session = backend.load(graph)
        self._stack.callback(session.close)
        self._check_input(session, graph.path.name, spec.crops.input)
        head: Head = registry.build("heads", spec.family, spec.with_outputs(session.outputs), **config.options)
        return Cascade(spec, config, session, head)

    def _run(self, tensor: NDArray[Any]) -> Callable[[_Branch], dict[str, Array]]:
        """Run what the heads share. Returns what gives one head's outputs; valid until the next run."""
        if self._fused is None:
            tensors = self._run_backbone(tensor)
            return lambda branch: self._run_head(branch, tensor, tensors)
        found: dict[str, dict[str, Array]] = {}
        for key, value in self._fused.run(_image(self._fused, tensor)).items():
            head, _, output = key.partition("/")
            found.setdefault(head, {})[output] = _array(value)
        return lambda branch: found[branch.spec.name]

    def _run_backbone(self, tensor: NDArray[Any]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for position, session in enumerate(self._backbone):
            feeds = {spec.name: tensors[spec.name] for spec in session.inputs} if position else _image(session, tensor)
            tensors.update(session.run(feeds))
        return tensors

    def _decode(
        self, branch: _Branch, outputs_of: Callable[[_Branch], dict[str, Array]], transform: Transform
    ) -> Exception | None:
        """Run and decode one head. Returns what went wrong where that is tolerated; its last result is void then."""
        try:
            branch.last = HeadOutput(branch.head.decode(outputs_of(branch), transform))
        except Exception as exc:  # noqa: BLE001  (raised by `_note_failure` where it is not tolerated)
            branch.last = None
            branch.enabled = not self._note_failure(branch.spec.name, exc)
            return exc
        self._failures[branch.spec.name] = 0
        return None

    def _note_failure(self, name: str, error: Exception) -> bool:
        """Count a head's failure, or raise it where none is tolerated. Returns whether the head is to be switched off.

        It is where it failed often enough, in decoding or while another head did not: else it may be the engine.
        """
        if not self._tolerant:
            raise error
        self._failures[name] += 1
        others = (count for other, count in self._failures.items() if other != name and self.enabled()[other])
        if self._failures[name] < _FAILURES or (isinstance(error, BackendError) and all(others)):
            return False
        self._failed[name] = f"{type(error).__name__}: {error}"
        _LOG.error("head '%s' failed %d times in a row and is switched off", name, _FAILURES, exc_info=error)
        return True

    def _run_head(self, branch: _Branch, tensor: NDArray[Any], tensors: Mapping[str, Tensor]) -> dict[str, Array]:
        inputs = {name: tensors[name] for name in branch.spec.inputs}
        if branch.session is None:
            return {name: _array(value) for name, value in inputs.items()}
        feeds = inputs or _image(branch.session, tensor)
        return {name: _array(value) for name, value in branch.session.run(feeds).items()}

    def _check_input(self, session: Session, file: str, expected: Input | None = None) -> None:
        expected = expected or self._manifest.input
        found = session.inputs[0]
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise ModelError(
                f"{self._where()}: {file} takes {len(session.inputs)} inputs ({names}); expected the image alone"
            )
        fits = len(found.shape) == 4 and all(f in (None, e) for f, e in zip(found.shape, expected.shape))
        if not fits or found.dtype != expected.dtype:
            raise ModelError(
                f"{self._where()}: input says {expected.dtype}{expected.shape} ({expected.layout}); "
                f"{file} takes '{found.name}' {found.dtype}{_shape(found)}"
            )

    def _features(self, backbone: Sequence[Session]) -> dict[str, TensorSpec]:
        """What the heads are fed with. Raises ModelError where the manifest lists one that is not there."""
        found = {spec.name: spec for session in backbone for spec in session.outputs}
        for name in self._manifest.backbone.features if self._manifest.backbone and backbone else ():
            if name not in found:
                raise ModelError(
                    f"{self._where()}: backbone.features: no graph gives '{name}'; found {', '.join(found)}"
                )
        return found

    def _check_head_inputs(self, spec: HeadSpec, session: Session, features: Mapping[str, TensorSpec]) -> None:
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
                    f"the backbone gives {_shape(features[name])}"
                )

    def _where(self) -> str:
        return str(self._manifest.folder / FILE)


def golden_error(reference: Array, found: Array) -> float:
    """How far outputs lie apart: the largest |a - b| / max(1, |b|), b the reference. Raises BackendError on shapes."""
    if reference.shape != found.shape:
        raise BackendError(f"found an output of shape {found.shape}; the golden vector has {reference.shape}")
    difference = np.abs(found.astype(np.float32) - reference) / np.maximum(1, np.abs(reference))
    return float(difference.max(initial=0))


def _image(session: Session, tensor: NDArray[Any]) -> dict[str, Tensor]:
    return {session.inputs[0].name: tensor}


def _array(value: Tensor) -> Array:
    return value if isinstance(value, np.ndarray) else value.array()


def _agree(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b))


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in spec.shape) + ")"
