"""The inference stage: run the backbone once for all heads that are due, run each of them, decode their outputs.

Not here: loading and running graphs (graphs.py), deciding what to reuse (reuse/), inference engines (backends/).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.backends import Array, Backend
from edge_app.config import HeadConfig
from edge_app.config.reuse import OFF, ReuseConfig, for_heads
from edge_app.errors import BackendError, EdgeError
from edge_app.frame import Frame, HeadOutput, JsonValue
from edge_app.geometry.boxes import Transform, fit
from edge_app.heads import Head
from edge_app.inference.branch import Branch
from edge_app.inference.crops import SecondStage
from edge_app.inference.decoding import decode
from edge_app.inference.graphs import Network
from edge_app.inference.image_heads import ImageHeads
from edge_app.inference.overlap import OverlappedInference
from edge_app.inference.preprocess import Preprocess
from edge_app.inference.score_check import ScoreCheck
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.reuse import cost_file, profile
from edge_app.reuse.calibrate import CalibrationPair, calibration_images
from edge_app.reuse.costs import Costs
from edge_app.reuse.crop_cache import CropCache
from edge_app.reuse.frame_reuse import FrameReuse
from edge_app.reuse.loader import FREE, effective, open_features
from edge_app.reuse.network_cache import OutputsOf
from edge_app.reuse.profile import ReuseProfile

_MAX_FAILURES = 3  # in a row
_FLOAT = ("onnx", "ncnn")  # targets whose outputs are never quantized
_LOG = logging.getLogger(__name__)


class Inference:
    """A model on a backend: the stage that fills `Frame.heads`. Owns the backend.

    tolerant: a failing head has no result for the frame; after three failures in a row it is disabled if other heads
    still work. If not tolerant, every failure is raised. fused: whether to use the model's fused graph if possible.
    reuse: what to reuse of earlier frames. state_dir: where the reuse profile is stored, or None.
    The constructor raises ModelError if graphs, manifest and head families do not match.
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
        self.backend = backend.version + (" int8" if backend.target == "int8" else "")
        self._on_cpu = backend.target in FREE
        self._quantized = backend.target not in _FLOAT
        self._manifest = manifest
        self._preprocess = Preprocess(manifest.input)
        self._stack = ExitStack()
        with self._stack:
            self._stack.callback(backend.close)
            first = {name: head for name, head in heads.items() if manifest.heads[name].whole_image}
            of_image = {name: head for name, head in heads.items() if manifest.heads[name].reads_image}
            self._image_heads = ImageHeads(manifest.heads, of_image, reuse, tolerant=tolerant)
            always = all(head.common.enabled and not head.common.every_s for head in first.values())
            self._network = Network(manifest, backend, first, fused=fused and always)
            self._stack.callback(self._network.close)
            self.machine = cost_file.machine_key(backend)
            self._branches = {name: self._branch(manifest.heads[name], head) for name, head in first.items()}
            self._cascades = {
                name: self._cascade(manifest.heads[name], head, reuse)
                for name, head in heads.items()
                if name not in first and name not in of_image
            }
            self._reuse = self._open_reuse(for_heads(reuse, first), backend, state_dir)
            self._failures = dict.fromkeys((*first, *self._cascades), 0)  # in a row
            self._failed: dict[str, str] = {}  # the error of each disabled head
            self._stack = self._stack.pop_all()

    def infer(self, frame: Frame) -> Frame:
        """Fill `frame.heads`: new results of the heads that are due, the last result and its age of the others."""
        due = [branch for branch in self._branches.values() if branch.due(frame.captured_ns)]
        if due:
            self._compute(due, *self._preprocess.prepare(frame), frame.captured_ns)
        heads = frame.heads = {
            name: branch.output(frame.captured_ns)
            for name, branch in self._branches.items()
            if branch.enabled and branch.last is not None
        }
        if self._image_heads.branches:
            heads.update(self._image_heads.infer(frame))
        for name, cascade in self._cascades.items():
            try:
                output = cascade.infer_crops(frame)
            except Exception as exc:  # noqa: BLE001  (`_record_failure` raises it if not tolerant)
                if self._record_failure(name, exc):
                    cascade.enabled = False
            else:
                self._failures[name] = 0
                if output is not None:
                    heads[name] = output
        return frame

    def _compute(self, due: list[Branch], tensor: NDArray[Any], transform: Transform, now_ns: int) -> None:
        """Update the heads that are due: run and decode those whose last result is not valid for this frame."""
        run, since_ns = due, now_ns
        if self._reuse is None:
            outputs_of: OutputsOf = self._network.run(tensor)
        else:
            new = [branch.spec.name for branch in due if branch.last is None]
            names = [branch.spec.name for branch in due]
            decision = self._reuse.decide(self._preprocess.resized, tensor, now_ns, names, new)
            run, since_ns = [branch for branch in due if branch.spec.name in decision.run], decision.since_ns
            outputs_of = decision.outputs_of
            due = [branch for branch in due if branch.spec.name not in decision.held]
        errors = [error for branch in run if (error := self._decode(branch, outputs_of, transform))]
        if self._reuse is not None:
            if decision.check:
                run, since_ns = due, now_ns
                self._compute_both_ways(due, tensor, transform, now_ns)
            self._reuse.release_outputs()
        if run and len(errors) == len(run) and isinstance(errors[0], BackendError):
            raise errors[0]  # not the fault of one head
        for branch in due:
            branch.last_ns, branch.reused = now_ns, "result"
        for branch in run:
            branch.since_ns, branch.reused = since_ns, "features"

    def _compute_both_ways(
        self, branches: list[Branch], tensor: NDArray[Any], transform: Transform, now_ns: int
    ) -> None:
        """Compute a frame in full that was computed in part, and let reuse compare the results."""
        assert self._reuse is not None
        partial = [branch.last for branch in branches]
        outputs_of = self._reuse.compute_in_full(tensor, now_ns, [branch.spec.name for branch in branches])
        for branch in branches:
            self._decode(branch, outputs_of, transform)
        self._reuse.compare(
            (before.result, branch.last.result, branch.threshold)
            for before, branch in zip(partial, branches)
            if before is not None and branch.last is not None
        )

    def overlapped(self) -> OverlappedInference | None:
        """`infer` in steps for several threads; None if a step would depend on the outcome of a later one."""
        branches, network = self._branches, self._network
        others = self._cascades or self._image_heads.branches
        if self._tolerant or self._reuse or others or any(branch.every_ns for branch in branches.values()):
            return None

        def decode_one(name: str, outputs: Mapping[str, Array], transform: Transform) -> HeadOutput:
            self._decode(branches[name], lambda _: outputs, transform)
            return branches[name].output(branches[name].since_ns)

        spec = self._manifest.input
        return OverlappedInference(spec, network.run, self.enabled, decode_one, copy=not self._on_cpu)

    def reuse_stats(self) -> dict[str, JsonValue]:
        """Statistics of reuse (reuse/frame_reuse.py); empty without reuse."""
        return {} if self._reuse is None else self._reuse.stats()

    def measure(self) -> Costs | None:
        """Measure the costs that reuse plans with, on this machine, in about 40 inferences. None without reuse."""
        if self._reuse is None:
            return None
        samples = []
        for number, image in enumerate(calibration_images(self._manifest.input.width, self._manifest.input.height)):
            tensor, _ = self._preprocess.prepare(Frame("measured", number, 0, 0, image))
            samples.append((self._preprocess.resized.copy(), tensor.copy()))
        (image, tensor), (other_image, other_tensor) = samples
        clock = time.thread_time if self._on_cpu else time.perf_counter
        return self._reuse.measure_costs(CalibrationPair((image, other_image), (tensor, other_tensor)), clock)

    def verify_reuse(self) -> float | None:
        """Compute the model in parts and as a whole (reuse/verification.py). The largest error; None without parts."""
        if self._reuse is None:
            return None
        images = calibration_images(self._manifest.input.width, self._manifest.input.height)
        return self._reuse.verify(images, lambda image: self._preprocess.prepare(Frame("", 0, 0, 0, image))[0].copy())

    def use_costs(self, costs: Costs) -> None:
        """Replace the costs that reuse plans with. No effect without reuse."""
        if self._reuse is not None:
            self._reuse.use_costs(costs)

    @property
    def reuses(self) -> bool:
        """Whether results of earlier frames may be reused."""
        return self._reuse is not None

    def relax(self, wanted: bool) -> None:
        """Reuse more than configured (reuse/relaxation.py), or as configured. For any thread."""
        if self._reuse is not None:
            self._reuse.relax(wanted)
        self._image_heads.relax(wanted)
        for cascade in self._cascades.values():
            cascade.relax(wanted)

    def refresh(self) -> None:
        """Compute the next frame without reuse: it comes from a different scene."""
        if self._reuse is not None:
            self._reuse.refresh()
        self._image_heads.refresh()

    def outputs(self, tensor: NDArray[Any]) -> dict[str, dict[str, Array]]:
        """The raw outputs of every head for one input tensor, copied. Golden vectors are compared with them."""
        outputs_of = self._network.run(tensor)
        return {name: {key: np.array(value) for key, value in outputs_of(name).items()} for name in self._branches}

    def check_decoders(self, tensor: NDArray[Any]) -> None:
        """Decode every head's outputs for one input tensor. Raises ModelError if a head breaks its contract."""
        outputs_of = self._network.run(tensor)
        size = (self._manifest.input.width, self._manifest.input.height)
        for name, branch in self._branches.items():
            result = decode(branch.head, branch.spec, outputs_of(name), fit(size, size, "stretch"))
            branch.scores.apply(result)
        for cascade in self._cascades.values():
            cascade.check_decoder()
        self._image_heads.check_decoders()

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable a head from the next frame on. Raises KeyError if there is none of this name."""
        if name in self._image_heads.branches:
            self._image_heads.set_enabled(name, enabled)
            return
        if enabled:
            self._failures[name] = 0
            self._failed.pop(name, None)
        if name in self._cascades:
            self._cascades[name].enabled = enabled
            self._cascades[name].scores.reset()
            return
        self._branches[name].set_enabled(enabled)

    def reconfigure(self, name: str, config: HeadConfig) -> None:
        """Change the score and the filters of a head from the next frame on. Raises KeyError if there is none."""
        if name in self._cascades:
            self._cascades[name].reconfigure(config)
        else:
            (self._branches | self._image_heads.branches)[name].reconfigure(config)

    def failed(self) -> dict[str, str]:
        """The heads that were disabled because they failed, and the error of each."""
        return self._failed | self._image_heads.failed

    def enabled(self) -> dict[str, bool]:
        """By head name, whether it is enabled."""
        first = {name: branch.enabled for name, branch in (self._branches | self._image_heads.branches).items()}
        return first | {name: cascade.enabled for name, cascade in self._cascades.items()}

    def close(self) -> None:
        self._stack.close()

    def _branch(self, spec: ManifestHead, config: HeadConfig) -> Branch:
        return Branch.of(spec, config, self._network.outputs[spec.name], self._score_check(spec))

    def _score_check(self, spec: ManifestHead) -> ScoreCheck:
        return ScoreCheck(f"heads.{spec.name} (family {spec.family})", quantized=self._quantized)

    def _cascade(self, spec: ManifestHead, config: HeadConfig, reuse: ReuseConfig) -> SecondStage:
        session = self._network.load_second_stage(spec)
        head: Head = registry.build("heads", spec.family, spec.spec(session.outputs), **config.options)
        cache = None
        if reuse.mode != "off" and config.common.on_change:
            cache = CropCache(round(min(reuse.max_age_s, config.common.max_age_s or reuse.max_age_s) * 1e9))
        return SecondStage(spec, config, session, head, scores=self._score_check(spec), cache=cache)

    def _open_reuse(self, wanted: ReuseConfig, backend: Backend, state_dir: Path | None) -> FrameReuse | None:
        if wanted.mode == "off" or not self._branches:
            return None
        known = ReuseProfile() if state_dir is None else profile.load(profile.path(state_dir, self._manifest))
        settings = effective(wanted, known)
        if settings.mode == "off":
            return None
        costs = None
        if state_dir is not None:
            costs = cost_file.load(cost_file.path(state_dir, self.machine, self._manifest))
        features = None
        if settings.mode == "auto":
            features = open_features(self._manifest, backend, self._branches, settings, known, costs=costs)
        if features is not None:
            self._stack.callback(features.close)
        size = (self._manifest.input.width, self._manifest.input.height)
        clocks = {name: branch.clock for name, branch in self._branches.items()}
        if features is not None:
            costs = features.costs
        return FrameReuse(settings, size, clocks, self._network.run, features=features, costs=costs)

    def _decode(self, branch: Branch, outputs_of: OutputsOf, transform: Transform) -> Exception | None:
        """Run and decode one head. Returns the error of a tolerated failure; the last result is then dropped."""
        try:
            outputs = outputs_of(branch.spec.name)
            if outputs is None and branch.last is None:
                raise BackendError(f"head '{branch.spec.name}' has no outputs")
            if outputs is not None:
                result = branch.scores.apply(decode(branch.head, branch.spec, outputs, transform))
                branch.last = HeadOutput(branch.filter.apply(result, (transform.image_width, transform.image_height)))
        except Exception as exc:  # noqa: BLE001  (`_record_failure` raises it if not tolerant)
            branch.last = None
            branch.enabled = not self._record_failure(branch.spec.name, exc)
            return exc
        self._failures[branch.spec.name] = 0
        return None

    def _record_failure(self, name: str, error: Exception) -> bool:
        """Count a failure of a head, or raise it if not tolerant. Returns whether to disable the head.

        After three failures in a row it is disabled, except if every other head fails with a BackendError too: then
        the engine is at fault.
        """
        if not self._tolerant:
            raise error
        self._failures[name] += 1
        others = (count for other, count in self._failures.items() if other != name and self.enabled()[other])
        if self._failures[name] < _MAX_FAILURES or (isinstance(error, BackendError) and all(others)):
            return False
        self._failed[name] = f"{type(error).__name__}: {error}"
        trace = None if isinstance(error, EdgeError) else error
        _LOG.error("head '%s' failed %d times in a row; disabling it: %s", name, _MAX_FAILURES, error, exc_info=trace)
        return True
