"""The blocks of config.yaml that every configuration has: what may stand in each, with its limits and defaults.

Not here: rules and tracks (rule_blocks.py), services (service_blocks.py), reuse (reuse_block.py), reading (config.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_app.options import Fraction, Point, Positive, Range, Seconds


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Who publishes, and where everything that is kept lies. id `auto`: SoC serial, else MAC address.

    commit_sink: the sink that must have acknowledged before the updater keeps a new release; "": none must.
    """

    id: Annotated[str, "1 to 64 of A-Z a-z 0-9 . _ -"] = "auto"
    state_dir: Path = Path("state")
    commit_sink: str = ""


@dataclass(frozen=True, slots=True)
class SourceCommon:
    """What every source has: the picture is rotated, flipped, cropped and masked, in this order.

    rotate: degrees clockwise. crop: x1, y1, x2, y2 and mask: polygons painted black, both 0..1 of the picture at that
    point. connect `required`: end when the camera is absent at start; `retry`: wait for it.
    """

    type: str
    name: str = "camera"
    rotate: Literal[0, 90, 180, 270] = 0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    crop: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    mask: tuple[tuple[Point, ...], ...] = ()
    connect: Literal["required", "retry"] = "required"


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """A plug-in to build: its type and its own options. where: `config.yaml:14`, for messages.

    name: of a sink or rule, where it has one of its own.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """The source block: what every source has, and the plug-in."""

    common: SourceCommon
    plugin: PluginConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model folder and the engine. threads: of onnxruntime; NPUs have none.

    precision: which of the model's files onnxruntime runs; an NPU runs what it was compiled for.
    deadline_s: what one inference may take; one that takes longer hangs, and its backend is built anew.
    """

    path: Path
    backend: str = "auto"
    threads: Positive = 1
    precision: Literal["float", "int8"] = "float"
    deadline_s: Annotated[float, Range(0.1, 600)] = 5.0


@dataclass(frozen=True, slots=True)
class HeadCommon:
    """When a head runs. every_s: at most this often; between, its last result stands, with its age.

    on_change: with `reuse`, not while nothing that it looks at has changed. max_age_s: nothing that its result rests on
    is older; null: as in `reuse`.

    ignore: polygons, 0..1 of the picture; detections with their centre in one are left out of everything.
    priority: where less must be done, heads of a lower one are left out first.
    """

    enabled: bool = True
    every_s: Seconds = 0.0
    on_change: bool = True
    max_age_s: Annotated[float, Range(0.1)] | None = None
    ignore: tuple[tuple[Point, ...], ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """One head that runs: its schedule, and its family's options from the manifest with the config's on top."""

    common: HeadCommon
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """results: every frame's, those that differ from the last one published, or one every N seconds."""

    results: Literal["on_change", "all", "none"] | Annotated[float, Range(0.001)] = "on_change"
    status_every_s: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """What is kept for sinks that are away (outbox/), on disk and, where the disk refuses, in memory.

    max_message_kb: a message above it is not accepted, only counted.
    """

    max_mb: Annotated[float, Range(1, 4096)] = 64.0
    max_memory_mb: Annotated[float, Range(0.05, 256)] = 4.0
    max_message_kb: Annotated[float, Range(1, 4096)] = 256.0


@dataclass(frozen=True, slots=True)
class SinkCommon:
    """name: what the sink's place in the outbox is kept under; its type where none is given."""

    type: str
    name: str = ""
