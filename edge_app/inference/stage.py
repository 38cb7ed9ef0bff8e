"""Run the backbone once for all heads that are due, then each of them, then decode.

Not here: the graphs themselves (network.py), which cells need computing again (reuse/), what an engine is (backends/).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.backends import Array, Backend
from edge_app.config import HeadConfig, ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import BackendError
from edge_app.frame import Frame, HeadOutput, JsonValue, Reused
from edge_app.geometry.boxes import Transform
from edge_app.heads import Head
from edge_app.inference.crops import SecondStage
from edge_app.inference.filters import DetectionFilter
from edge_app.inference.graphs import Network
from edge_app.inference.preprocess import Preprocess
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.reuse import profile as tuned
from edge_app.reuse.calibrate import Seen, pictures
from edge_app.reuse.costs import Costs
from edge_app.reuse.crop_cache import KeptCrops
from edge_app.reuse.loader import FREE, effective, open_features
from edge_app.reuse.planner import FrameReuse, HeadClock, OutputsOf
from edge_app.reuse.profile import Tuned

_FAILURES = 3
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Branch:
    """A head that is set up: its decoder, its clock, its last result."""

    spec: ManifestHead
    head: Head
    every_ns: int
    enabled: bool
    clock: HeadClock
    filter: DetectionFilter
    last: HeadOutput | None = None
    last_ns: int = 0  # the frame that it was computed for, or found to hold still
    reused: Reused = ""
    since_ns: int = 0  # when the oldest of what it rests on was computed

    def output(self, now_ns: int) -> HeadOutput:
        """The result for a frame, with its age."""
        assert self.last is not None
        if self.since_ns == now_ns:
            return self.last
        reused: Reused = self.reused if self.last_ns == now_ns else "held"
        return HeadOutput(self.last.result, now_ns - self.since_ns, reused)

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

    reuse: how much of a frame may be answered by what was computed before; state_dir: where what was measured for that
    is kept, None: nowhere.
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        heads: Mapping[str, HeadConfig],
        *,
        tolerant: bool = False,
        fused: bool = True,
        reuse: ReuseConfig = OFF,
        state_dir: Path | None = None,
    ) -> None:
        self._tolerant = tolerant
        self.backend = backend.version
        self._on_cpu = backend.target in FREE
        self._manifest = manifest
        self._preprocess = Preprocess(manifest.input)
        self._stack = ExitStack()
        with self._stack:
            self._stack.callback(backend.close)
            first = {name: head for name, head in heads.items() if manifest.heads[name].crops is None}
            always = all(head.common.enabled and not head.common.every_s for head in first.values())
            self._network = Network(manifest, backend, first, fused=fused and always)
            self._stack.callback(self._network.close)
            self._branches = {name: self._branch(manifest.heads[name], head) for name, head in first.items()}
            self._cascades = {
                name: self._cascade(manifest.heads[name], head, reuse)
                for name, head in heads.items()
                if name not in first
            }
            self._reuse = self._open_reuse(_for_heads(reuse, first), backend, state_dir)
            self._failures = dict.fromkeys(heads, 0)  # in a row
            self._failed: dict[str, str] = {}  # why a head was switched off
            self._stack = self._stack.pop_all()

    def infer(self, frame: Frame) -> Frame:
        """Fill `frame.heads`: fresh results of the heads that are due, the last ones with their age of the others."""
        due = [branch for branch in self._branches.values() if branch.due(frame.captured_ns)]
        if due:
            self._compute(due, *self._preprocess.prepare(frame), frame.captured_ns)
        heads = frame.heads = {
            name: branch.output(frame.captured_ns)
            for name, branch in self._branches.items()
            if branch.enabled and branch.last is not None
        }
        for name, cascade in self._cascades.items():
            try:
                output = cascade.infer_crops(frame)
            except Exception as exc:  # noqa: BLE001  (raised by `_note_failure` where it is not tolerated)
                if self._note_failure(name, exc):
                    cascade.enabled = False
            else:
                self._failures[name] = 0
                if output is not None:
                    heads[name] = output
        return frame

    def _compute(self, due: list[_Branch], tensor: NDArray[Any], transform: Transform, now_ns: int) -> None:
        """Bring the heads that are due up to date: run and decode those whose results do not stand."""
        run, since_ns = due, now_ns
        if self._reuse is None:
            outputs_of: OutputsOf = self._network.run(tensor)
        else:
            new = [branch.spec.name for branch in due if branch.last is None]
            names = [branch.spec.name for branch in due]
            step = self._reuse.decide(self._preprocess.picture, tensor, now_ns, names, new)
            run, since_ns = [branch for branch in due if branch.spec.name in step.run], step.since_ns
            outputs_of = step.outputs_of
            due = [branch for branch in due if branch.spec.name not in step.held]
        errors = [error for branch in run if (error := self._decode(branch, outputs_of, transform))]
        if self._reuse is not None:
            self._reuse.let_go()
        if run and len(errors) == len(run) and isinstance(errors[0], BackendError):
            raise errors[0]  # not one head's fault
        for branch in due:
            branch.last_ns, branch.reused = now_ns, "result"
        for branch in run:
            branch.since_ns, branch.reused = since_ns, "features"

    def reuse_stats(self) -> dict[str, JsonValue]:
        """What was reused so far (reuse/frames.py); empty where nothing ever is."""
        return {} if self._reuse is None else self._reuse.stats()

    def measure(self) -> Costs | None:
        """Measure what reuse decides by, on this machine, in about 40 inferences; None where nothing is reused."""
        if self._reuse is None:
            return None
        shown = []
        for number, image in enumerate(pictures(self._manifest.input.width, self._manifest.input.height)):
            tensor, _ = self._preprocess.prepare(Frame("measured", number, 0, 0, image))
            shown.append((self._preprocess.picture.copy(), tensor.copy()))
        (picture, tensor), (other_picture, other_tensor) = shown
        clock = time.thread_time if self._on_cpu else time.perf_counter
        return self._reuse.measure(Seen((picture, other_picture), (tensor, other_tensor)), clock)

    def use_costs(self, costs: Costs) -> None:
        """Decide about reuse by these costs from now on; without reuse, nothing."""
        if self._reuse is not None:
            self._reuse.use(costs)

    @property
    def reuses(self) -> bool:
        """Whether what was computed before may answer a frame."""
        return self._reuse is not None

    def ease(self, wanted: bool) -> None:
        """Reuse more than was configured from the next frame on (reuse/ease.py), or as much. For any thread."""
        if self._reuse is not None:
            self._reuse.ease(wanted)
        for cascade in self._cascades.values():
            cascade.ease(wanted)

    def refresh(self) -> None:
        """Reuse nothing for the next frame: it comes from elsewhere."""
        if self._reuse is not None:
            self._reuse.refresh()

    def outputs(self, tensor: NDArray[Any]) -> dict[str, dict[str, Array]]:
        """Every head's raw outputs for one input tensor, copied: what golden vectors are compared with."""
        outputs_of = self._network.run(tensor)
        return {name: {key: np.array(value) for key, value in outputs_of(name).items()} for name in self._branches}

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

    def _branch(self, spec: ManifestHead, config: HeadConfig) -> _Branch:
        outputs = self._network.outputs[spec.name]
        head: Head = registry.build("heads", spec.family, spec.spec(outputs), **config.options)
        clock = HeadClock(config.common.on_change, config.common.priority)
        every_ns, filter_ = round(config.common.every_s * 1e9), DetectionFilter(config.common)
        return _Branch(spec, head, every_ns, config.common.enabled, clock, filter_)

    def _cascade(self, spec: ManifestHead, config: HeadConfig, reuse: ReuseConfig) -> SecondStage:
        session = self._network.load_second_stage(spec)
        head: Head = registry.build("heads", spec.family, spec.spec(session.outputs), **config.options)
        kept = None
        if reuse.mode != "off" and config.common.on_change:
            kept = KeptCrops(round(min(reuse.max_age_s, config.common.max_age_s or reuse.max_age_s) * 1e9))
        return SecondStage(spec, config, session, head, kept)

    def _open_reuse(self, wanted: ReuseConfig, backend: Backend, state_dir: Path | None) -> FrameReuse | None:
        if wanted.mode == "off":
            return None
        known = Tuned() if state_dir is None else tuned.load(tuned.path(state_dir, self._manifest))
        settings = effective(wanted, known)
        if settings.mode == "off":
            return None
        features = None
        if settings.mode == "auto":
            features = open_features(self._manifest, backend, self._branches, settings, known)
        if features is not None:
            self._stack.callback(features.close)
        size = (self._manifest.input.width, self._manifest.input.height)
        clocks = {name: branch.clock for name, branch in self._branches.items()}
        costs = known.machine_costs() if features is None else features.costs
        return FrameReuse(settings, size, clocks, self._network.run, features=features, costs=costs)

    def _decode(self, branch: _Branch, outputs_of: OutputsOf, transform: Transform) -> Exception | None:
        """Run and decode one head. Returns what went wrong where that is tolerated; its last result is void then."""
        try:
            outputs = outputs_of(branch.spec.name)
            if outputs is None and branch.last is None:
                raise BackendError(f"head '{branch.spec.name}' has no outputs")
            if outputs is not None:
                branch.last = HeadOutput(branch.filter.apply(branch.head.decode(outputs, transform), transform))
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


def _for_heads(reuse: ReuseConfig, heads: Mapping[str, HeadConfig]) -> ReuseConfig:
    """With the age bound that the strictest head asks for."""
    ages = [head.common.max_age_s for head in heads.values() if head.common.max_age_s is not None]
    return replace(reuse, max_age_s=min([reuse.max_age_s, *ages]))
