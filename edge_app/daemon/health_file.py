"""The health report of a release for the updater (firmware_bundle/updater), which confirms it or rolls it back.

A JSON file, replaced atomically: `verdict` is `waiting`, `healthy` or `failed`; `reason` explains it. It is rewritten
every few seconds while the main loop runs, so that a supervisor without a watchdog detects a hang.
Not here: the reaction to it; the updater must not depend on the release that it replaces.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from edge_app.config import Config
from edge_app.errors import EdgeError, foreign_text
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline.loop import Pipeline

_LOG = logging.getLogger(__name__)

MIN_FRAMES = 10
_WRITE_EVERY_S = 2.0
_MAX_REASON = 1000  # characters
_MAX_BYTES = 1 << 16  # of the updater's state file
Verdict = Literal["waiting", "healthy", "failed"]


class HealthFile:
    """The health report of one run. As a context manager it also records the exception that ends the run.

    path: None without an updater; then nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._frames = 0
        self._heads_run: set[tuple[str, str]] = set()  # camera, head
        self._verdict: Verdict = "waiting"
        self._reason = "starting"
        self._next_write_s = 0.0
        self._writes = 0

    def __enter__(self) -> HealthFile:
        self._write()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and self._verdict == "waiting":
            text = f": {foreign_text(str(error), _MAX_REASON)}" if isinstance(error, EdgeError) else ""
            self._reason = f"{type(error).__name__}{text}"
            self._write()

    def check_model(self, config: Config) -> None:
        """Replay the golden vectors on the configured engine; the release has failed if they do not match."""
        if self._path is None:
            return
        from edge_app.inference import golden  # reads archives: 2 MB that other daemons save

        for result in golden.replay(config):
            if result.verdict == "fail":
                self._verdict, self._reason = "failed", f"golden: {result.text}"
                _LOG.error("release failed: %s", self._reason)
        self._write()

    def update(self, pipelines: Collection[Pipeline], frame: Frame | None) -> None:
        """Update the report after one step of the main loop. frame: the processed frame, None if there was none.

        pipelines: of all cameras. Of several, those that are not there do not count: they say nothing about a release.
        """
        if self._path is None:
            return
        if frame is not None:
            self._frames += 1
            self._heads_run |= {(frame.source, head) for head in frame.heads or ()}
        if self._verdict == "waiting":
            pending = self._pending(pipelines)
            self._reason = ", ".join(pending)
            if not pending:
                self._verdict = "healthy"
                self._next_write_s = 0.0
        if time.monotonic() >= self._next_write_s:
            self._write()

    def _pending(self, pipelines: Collection[Pipeline]) -> list[str]:
        """The conditions for `healthy` that are not met yet."""
        first = next(iter(pipelines))
        working = [each for each in pipelines if each is first or each.health().source == "running"]
        if first.health().source != "running" and len(working) > 1:
            working.remove(first)
        pending = [] if self._frames >= MIN_FRAMES else [f"{self._frames} frames of {MIN_FRAMES}"]
        for each in working:
            enabled, camera = each.health().heads, each.config.camera
            missing = [name for name in enabled if enabled[name] and (camera, name) not in self._heads_run]
            pending += [f"head '{name}' has not run" for name in missing]
        name = first.config.device.commit_sink
        sent = {sink.name: sink.sent for sink in first.stats().publish.sinks}
        if name and not sent.get(name):
            pending.append(f"sink '{name}' has not acknowledged a message")
        return pending

    def _write(self) -> None:
        if self._path is None:
            return
        self._next_write_s = time.monotonic() + _WRITE_EVERY_S
        self._writes += 1  # so that the content always changes, even if the clock does not
        report = {"verdict": self._verdict, "reason": self._reason, "writes": self._writes}
        temporary = self._path.with_name(self._path.name + ".tmp")
        try:
            temporary.write_text(json.dumps(report), encoding="ascii")
            os.replace(temporary, self._path)
        except OSError as exc:
            _LOG.error("health file: %s: %s", self._path, exc.strerror)


def release_status(state_file: Path | None) -> Mapping[str, JsonValue]:
    """For the heartbeat: the running release, and the one that was rolled back and why; {} without an updater."""
    if state_file is None:
        return {}
    try:
        with state_file.open("rb") as file:
            state = json.loads(file.read(_MAX_BYTES))
        trial = state["trial"]
        running = trial["release"] if trial else state["good"]
        return {"release": {"running": running, "on_trial": bool(trial), "failed": state["failed"]}}
    except (OSError, ValueError, KeyError, TypeError) as exc:
        _LOG.warning("release file: %s: %s", state_file, foreign_text(exc))
        return {}


def failed_update(about: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    """The value of the fault `update`: the release that was rolled back, and why; None if none was.

    about: the result of `release_status`.
    """
    release = about.get("release")
    failed = release.get("failed") if isinstance(release, Mapping) else None
    if not isinstance(failed, Mapping):
        return None
    return {"release": foreign_text(failed.get("release", "")), "error": foreign_text(failed.get("reason", ""))}
