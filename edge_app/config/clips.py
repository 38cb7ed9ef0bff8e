"""The block `clips` of config.yaml: video clips of events. Not here: recording and encoding them (clips/)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

import yaml

from edge_app.options import Range
from edge_app.options.document import Problems, nearest


@dataclass(frozen=True, slots=True)
class ClipsConfig:
    """Video clips of events, in a ring buffer under state_dir. Not for boards of 64 MB.

    before_s: from the begin of a clip to the start of its event. after_s: from the end of the event to the end of the
    clip. max_s: of the longest clip, however long its event goes on; events that overlap share a clip.
    fps: frames per second. width: maximum, pixels. quality: of the JPEG images in memory; it falls if they would exceed
    memory_mb. memory_mb: of all images in memory. max_mb: of all clips on disk; the oldest are deleted first.
    rules: whose events are recorded; empty: of all rules.
    """

    enabled: bool = False
    before_s: Annotated[float, Range(0, 60)] = 5.0
    after_s: Annotated[float, Range(0, 60)] = 5.0
    max_s: Annotated[float, Range(1, 300)] = 20.0
    fps: Annotated[float, Range(0.5, 30)] = 5.0
    width: Annotated[int, Range(64, 1920)] = 640
    quality: Annotated[int, Range(10, 100)] = 75
    memory_mb: Annotated[float, Range(0.5, 512)] = 12.0
    max_mb: Annotated[float, Range(0.1, 65536)] = 64.0
    rules: tuple[str, ...] = ()


def check_clips(clips: ClipsConfig, nodes: Mapping[str, yaml.Node], rules: Collection[str], problems: Problems) -> None:
    """Add a mistake to `problems` if the times contradict each other or a rule does not exist. rules: all names."""
    if clips.max_s < clips.before_s + clips.after_s:
        text = f"clips.max_s: found {clips.max_s:g}; expected at least before_s + after_s"
        problems.add(nodes.get("max_s"), f"{text} ({clips.before_s + clips.after_s:g})")
    for name in clips.rules:
        if name not in rules:
            problems.add(nodes.get("rules"), f"clips.rules: there is no rule '{name}'{nearest(name, rules)}")
