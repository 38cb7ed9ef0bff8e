"""Collects what is true now of rules, heads, camera and device, for sinks that publish it as retained topics.

It is collected twice a second and when an event begins or ends, if any sink publishes it. Not here: the values of heads
and camera (state/values.py), those of rules (rules/), how much is published (state/budget.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from edge_app import __version__
from edge_app.commands.changes import score_of
from edge_app.config import Config
from edge_app.frame import Frame, HeadOutput, JsonValue
from edge_app.pipeline import Pipeline
from edge_app.pipeline.sensors import Reading
from edge_app.state.values import camera_values, counted, device_values, head_values

_EVERY_S = 0.5
_DEVICE_EVERY_S = 30.0


class PresentState:
    """Sets the state board of a pipeline. now_s: a monotonic clock."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._next_s = self._next_device_s = 0.0
        self._outputs: Mapping[str, HeadOutput] = {}
        self._device: dict[str, JsonValue] = {}
        self._scored: Config | None = None  # the configuration of _score
        self._score: Mapping[str, float | None] = {}  # by head
        self._counted = (0, 0.0)  # frames, at

    def update(self, running: Pipeline, frame: Frame | None, reading: Reading) -> None:
        """Collect the state after one step of the main loop, if it is due. frame: the processed one, if any."""
        now_s = self._now_s()
        if (now_s < self._next_s and not (frame is not None and frame.events)) or not running.board.is_wanted:
            return
        self._next_s = now_s + _EVERY_S
        if frame is not None:
            self._outputs = frame.outputs
        health, capture = running.health(), running.stats().capture
        watching = capture.state == "running"
        states: dict[str, JsonValue] = {"camera": self._camera(running, capture.state, capture.last_error)}
        if self._next_device_s <= now_s:
            self._next_device_s = now_s + (_EVERY_S if reading == Reading() else _DEVICE_EVERY_S)
            self._device = self._measured(running, reading, now_s)
        states["device"] = dict(self._device)
        for name, each in self._heads(running, health.heads, watching).items():
            states[f"heads/{name}"] = each
        for name, each in self._rules(running, watching).items():
            states[f"rules/{name}"] = each
        running.board.set(states)

    def _camera(self, running: Pipeline, state: str, error: str | None) -> dict[str, JsonValue]:
        config, health = running.config, running.health()
        return {
            **camera_values(state, error, health.faults, health.rung),
            "reuse": "OFF" if config.reuse.mode == "off" else "ON",
            "precision": config.model.precision,
        }

    def _heads(self, running: Pipeline, runs: Mapping[str, bool], watching: bool) -> dict[str, dict[str, JsonValue]]:
        """`active`: the head runs on the frames of a working camera; otherwise it has no count or label."""
        found: dict[str, dict[str, JsonValue]] = {}
        for name, config in running.config.heads.items():
            on = runs.get(name, False)
            found[name] = {"enabled": config.common.enabled, "active": on and watching}
            if (score := self._scores(running.config)[name]) is not None:
                found[name]["score"] = score
            output = self._outputs.get(name)
            if output is not None and on and watching:
                found[name] |= head_values(output, running.config.manifest.heads[name].labels)
        return found

    def _scores(self, config: Config) -> Mapping[str, float | None]:
        if config is not self._scored:
            self._scored, self._score = config, {name: score_of(config, name) for name in config.heads}
        return self._score

    def _rules(self, running: Pipeline, watching: bool) -> dict[str, dict[str, JsonValue]]:
        """`active`: the rule is evaluated on the frames of a working camera."""
        totals: Any = running.board.totals().get("totals", {"rules": {}})
        states = running.rules.states()
        for name, state in states.items():
            state["active"] = bool(state["active"]) and watching
            labels = state.get("labels")
            if isinstance(labels, dict):
                state["labels"] = _bounded(labels)
            if name in totals["rules"]:
                state["totals"] = totals["rules"][name]
        return states

    def _measured(self, running: Pipeline, reading: Reading, now_s: float) -> dict[str, JsonValue]:
        stats = running.stats()
        frames, at_s = self._counted
        per_s = (stats.frames - frames) / (now_s - at_s) if at_s and now_s > at_s else 0.0
        self._counted = stats.frames, now_s
        release: Any = running.about.get("release")
        queued = sum(sink.queued for sink in stats.publish.sinks)
        values = device_values(
            temperature_c=reading.temperature_c,
            memory_mb=reading.resident_mb,
            frames_per_s=max(0.0, per_s),
            queue=queued,
        )
        return {**values, "release": str(release["running"]) if isinstance(release, dict) else __version__}


def _bounded(labels: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Counts by label, at most 20; of a line, counts by direction."""
    if all(isinstance(n, int) for n in labels.values()):
        return counted(labels)
    kept = counted({label: sum(counts.values()) for label, counts in labels.items()})
    return {label: labels[label] for label in labels if label in kept}
