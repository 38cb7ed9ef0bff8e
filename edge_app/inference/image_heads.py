"""Heads without a network: they take the pixels of the frame. They have the schedule and the gate of other heads.

With reuse, none of them runs while the image is unchanged. The comparison is their own: its blocks are pixels of the
frame, so that it works without a model, and for small objects too.
Not here: heads that decode a network's outputs (stage.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import cv2
import numpy as np

from edge_app.config import HeadConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.errors import EdgeError
from edge_app.frame import Frame, HeadOutput, Result, UInt8
from edge_app.geometry.boxes import Transform, fit
from edge_app.heads import image_input
from edge_app.inference.branch import Branch
from edge_app.inference.decoding import decode
from edge_app.inference.score_check import ScoreCheck
from edge_app.model.manifest import ManifestHead
from edge_app.reuse.change_detection import ChangeDetector, watched_blocks
from edge_app.reuse.head_schedule import HeadSchedule
from edge_app.reuse.relaxation import AGE_FACTOR, TOLERANCE_FACTOR

_MAX_FAILURES = 3  # in a row
_REDUCTION = 4  # frame pixels per pixel that change detection compares
_LOG = logging.getLogger(__name__)


class ImageHeads:
    """All heads of a configuration that read the image.

    tolerant: a failing head has no result for the frame, and is disabled after three failures in a row. If not
    tolerant, a failure is raised. The constructor raises EdgeError as the plug-ins do.
    """

    def __init__(
        self,
        specs: Mapping[str, ManifestHead],
        configs: Mapping[str, HeadConfig],
        reuse: ReuseConfig,
        *,
        tolerant: bool,
    ) -> None:
        self.branches = {name: Branch.of(specs[name], config, (), ScoreCheck(name)) for name, config in configs.items()}
        self.failed: dict[str, str] = {}  # the error of each disabled head
        self._failures = dict.fromkeys(configs, 0)
        self._tolerant, self._settings, self._relaxed = tolerant, reuse, False
        self._max_age_s = {name: config.common.max_age_s or reuse.max_age_s for name, config in configs.items()}
        self._schedule = HeadSchedule({name: branch.clock for name, branch in self.branches.items()})
        self._detector: ChangeDetector | None = None  # for the size of the last frame
        self._transform: Transform | None = None
        self._refresh = False

    def infer(self, frame: Frame) -> dict[str, HeadOutput]:
        """The results of all heads for a frame: new ones of those that are due, the last one and its age of others."""
        now_ns = frame.captured_ns
        due = [branch for branch in self.branches.values() if branch.due(now_ns)]
        if due:
            changed = self._settings.mode == "off" or self._changed(frame)
            for branch in due:
                if changed or self._must_run(branch, now_ns):
                    self._run(branch, frame)
                else:
                    branch.last_ns, branch.reused = now_ns, "result"
        return {
            name: branch.output(now_ns)
            for name, branch in self.branches.items()
            if branch.enabled and branch.last is not None
        }

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable a head from the next frame on."""
        if enabled:
            self._failures[name] = 0
            self.failed.pop(name, None)
        self.branches[name].set_enabled(enabled)

    def relax(self, relaxed: bool) -> None:
        """Reuse more than configured (reuse/relaxation.py), or as configured. Any thread may call it."""
        self._relaxed = relaxed

    def refresh(self) -> None:
        """Run all heads on the next frame: it comes from a different scene. Any thread may call it."""
        self._refresh = True

    def check_decoders(self) -> None:
        """Read a gray image. Raises ModelError if a head breaks its contract."""
        frame = Frame("", 0, 0, 0, np.full((64, 64, 3), 128, np.uint8))
        for branch in self.branches.values():
            self._read(branch, frame)

    def _run(self, branch: Branch, frame: Frame) -> None:
        name, now_ns = branch.spec.name, frame.captured_ns
        try:
            result = branch.filter.apply(self._read(branch, frame), (frame.width, frame.height))
        except Exception as exc:  # noqa: BLE001  (raised if not tolerant)
            branch.last = None
            self._record_failure(branch, exc)
            return
        branch.last = HeadOutput(result)
        branch.last_ns = branch.since_ns = now_ns
        self._failures[name] = 0
        self._schedule.mark_run((name,))

    def _read(self, branch: Branch, frame: Frame) -> Result:
        transform = self._transform
        if transform is None or (transform.image_width, transform.image_height) != (frame.width, frame.height):
            size = (frame.width, frame.height)
            transform = self._transform = fit(size, size, "stretch")
        pixels = frame.gray if image_input(type(branch.head)) == "gray" else frame.image
        return decode(branch.head, branch.spec, {"image": pixels[None]}, transform)

    def _must_run(self, branch: Branch, now_ns: int) -> bool:
        """Whether a head runs although the image is unchanged."""
        name = branch.spec.name
        age_ns = now_ns - branch.since_ns
        limit_s = self._max_age_s[name] * (AGE_FACTOR if self._relaxed else 1)
        outdated = name in self._schedule.outdated or name in self._schedule.every_frame
        return branch.last is None or outdated or not 0 <= age_ns <= limit_s * 1e9

    def _changed(self, frame: Frame) -> bool:
        """Compare the frame with the one of the last results. After a change, it becomes the new reference."""
        size = (frame.width, frame.height)
        if self._detector is None or self._detector.size != size:
            settings = self._settings
            self._detector = ChangeDetector(size, settings.tolerance, watched_blocks(settings.ignore, size))
        if self._refresh:
            self._refresh = False
            self._detector.reset()
        self._detector.tolerance_factor = TOLERANCE_FACTOR if self._relaxed else 1.0
        if self._detector.detect(self._compared(frame)).kind == "none":
            return False
        self._detector.update_reference(None)
        self._schedule.mark_all_outdated()
        return True

    def _compared(self, frame: Frame) -> UInt8:
        """The image that change detection gets, (H, W, 3): reduced, since it would reduce the whole one more slowly."""
        if self._settings.tolerance == 0:
            return frame.image
        size = (-(-frame.width // _REDUCTION), -(-frame.height // _REDUCTION))
        small = cv2.resize(frame.gray, size, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(small, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)

    def _record_failure(self, branch: Branch, error: Exception) -> None:
        """Count a failure, or raise it if not tolerant. Disables the head after several in a row."""
        if not self._tolerant:
            raise error
        name = branch.spec.name
        self._failures[name] += 1
        if self._failures[name] < _MAX_FAILURES:
            return
        branch.enabled = False
        self.failed[name] = f"{type(error).__name__}: {error}"
        trace = None if isinstance(error, EdgeError) else error
        _LOG.error("head '%s' failed %d times in a row; disabling it: %s", name, _MAX_FAILURES, error, exc_info=trace)
