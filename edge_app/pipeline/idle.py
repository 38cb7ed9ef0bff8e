"""Process fewer frames, and lower the CPU's and NPU's clock, while nothing happens; both return at the first change.

A change is an event, or results that differ from those before (publish/changes.py). Between two frames the pipeline
sleeps, so that a live camera's frames in between cost only their decoding. Not here: the options (config/services.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from edge_app.clock import Clock
from edge_app.config.services import PowerConfig
from edge_app.frame import Frame, HeadOutput
from edge_app.publish.changes import differ

_LOG = logging.getLogger(__name__)


class Governor:
    """Governors of all CPU clusters and of the NPU: switched to one, and back to those that were found."""

    def __init__(self, name: str, root: Path = Path("/")) -> None:
        self._name = name
        self._files = [
            *sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_governor")),
            *sorted((root / "sys/class/devfreq").glob("*npu*/governor")),
        ]
        self._found: dict[Path, str] = {}
        self._reported = False

    def lower(self) -> None:
        """Switch every clock that knows this governor. What fails is logged once."""
        for file in self._files:
            scaling = "scaling_" if file.name.startswith("scaling_") else ""
            known = file.with_name(f"{scaling}available_governors")
            try:
                if self._name in known.read_text(encoding="ascii").split():
                    before = file.read_text(encoding="ascii").strip()
                    self._write(file, self._name)
                    self._found[file] = before
            except (OSError, UnicodeDecodeError) as exc:
                self._report(file, exc)
        if not self._files:
            self._report(Path("/sys"), FileNotFoundError(0, "this machine has no governors"))

    def restore(self) -> None:
        for file, before in self._found.items():
            try:
                self._write(file, before)
            except OSError as exc:
                self._report(file, exc)
        self._found.clear()

    def _write(self, file: Path, name: str) -> None:
        file.write_text(f"{name}\n", encoding="ascii")

    def _report(self, file: Path, exc: Exception) -> None:
        if not self._reported:
            reason = exc.strerror if isinstance(exc, OSError) else "not text"
            _LOG.warning("power.governor: %s: %s; the clocks stay as they are", file, reason)
            self._reported = True


class Idle:
    """Whether nothing has happened for a while, and how long to wait until the next frame then.

    replay: nothing is done. several: cameras in this process, so that the clocks stay. root: of the file system.
    """

    def __init__(
        self, config: PowerConfig, clock: Clock, *, replay: bool = False, several: bool = False, root: Path = Path("/")
    ) -> None:
        self._clock, self._replay, self._several, self._root = clock, replay, several, root
        self._config, self._governor = config, self._build_governor(config)
        self._enabled = not replay and bool(config.idle_fps or config.governor)
        self._changed_ns: int | None = None  # when something happened last; None: no frame yet
        self._frame_ns = 0
        self._outputs: Mapping[str, HeadOutput] = {}
        self.idle = False

    def observe(self, frame: Frame) -> None:
        """Take a processed frame into account."""
        if not self._enabled:
            return
        now_ns = self._clock.monotonic_ns()
        changed = bool(frame.events) or differ(self._outputs, frame.outputs)
        if changed or self._changed_ns is None:
            self._changed_ns, self._outputs = now_ns, frame.outputs
        self._frame_ns = now_ns
        self._switch(now_ns - self._changed_ns >= self._config.idle_after_s * 1e9)

    def wait_s(self) -> float:
        """Seconds until the next frame is due; 0 or less: now."""
        if not self.idle or self._config.idle_fps is None:
            return 0.0
        return (self._frame_ns - self._clock.monotonic_ns()) * 1e-9 + 1 / self._config.idle_fps

    def apply(self, config: PowerConfig) -> None:
        """Switch to another configuration; the clocks are restored first."""
        self._switch(False)
        self._config, self._governor = config, self._build_governor(config)
        self._enabled = not self._replay and bool(config.idle_fps or config.governor)

    def close(self) -> None:
        """Restore the clocks."""
        self._switch(False)

    def _build_governor(self, config: PowerConfig) -> Governor | None:
        return (
            None if config.governor is None or self._replay or self._several else Governor(config.governor, self._root)
        )

    def _switch(self, idle: bool) -> None:
        if idle == self.idle:
            return
        self.idle = idle
        if self._governor is not None:
            (self._governor.lower if idle else self._governor.restore)()
