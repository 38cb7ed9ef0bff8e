"""The options of the main blocks of config.yaml, with their limits and defaults.

Not here: track and rules (rules.py), degrade, snapshots and web (services.py), reuse (reuse.py), reading (loading.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_app.options import Fraction, Point, Range, Seconds
from edge_app.schedule import Window


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """The device. id: its name in messages; `auto` is the SoC serial number, else the MAC address.

    state_dir: the folder of all persistent state. commit_sink: the updater commits a new release only after this sink
    has acknowledged a message; "": it does not wait for a sink. trust_clock: whether schedules and totals use the clock
    although no time server has set it; for devices with a battery-backed clock and no network.
    """

    id: Annotated[str, "1 to 64 of A-Z a-z 0-9 . _ -"] = "auto"
    state_dir: Path = Path("state")
    commit_sink: str = ""
    trust_clock: bool = False


@dataclass(frozen=True, slots=True)
class SourceCommon:
    """The options that all sources have. The image is rotated, flipped, cropped and masked, in this order.

    rotate: degrees clockwise. crop: x1, y1, x2, y2; mask: polygons that are painted black. Both are 0..1 of the image
    after the steps before. connect: whether to exit (`required`) or wait (`retry`) if there is no camera at start.
    schedule: when the camera is open; empty: always.
    """

    type: str
    name: str = "camera"
    rotate: Literal[0, 90, 180, 270] = 0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    crop: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    mask: tuple[tuple[Point, ...], ...] = ()
    connect: Literal["required", "retry"] = "required"
    schedule: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """A plug-in to build: its type and its own options. where: file and line for error messages, `config.yaml:14`.

    name: the name of a sink; "" for other plug-ins.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may contain a URL with a password
    where: str = field(default="", compare=False)
    name: str = ""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """The block `source`: the options that all sources have, and the plug-in."""

    common: SourceCommon
    plugin: PluginConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model folder and the inference engine. threads: for onnxruntime and ncnn; NPUs ignore it.

    precision: which files of the model onnxruntime runs; `auto`, only for `run`: the faster ones, measured once on this
    machine, and float elsewhere. An NPU runs the files compiled for it.
    parallel: with several cameras, inference runs at the same time. On a CPU, each takes memory for its maps.
    null: one, and on an NPU one for each of its cores.
    deadline_s: the longest that one inference run may take. After it, the backend counts as hung and is rebuilt.
    """

    path: Path
    backend: str = "auto"
    threads: Annotated[int, Range(1, 64)] = 1
    precision: Literal["float", "int8", "auto"] = "float"
    deadline_s: Annotated[float, Range(0.1, 600)] = 5.0
    parallel: Annotated[int, Range(1, 16)] | None = None


@dataclass(frozen=True, slots=True)
class HeadCommon:
    """The options that all heads have: when a head runs.

    every_s: the shortest interval; between runs, its last result is repeated with its age. on_change: with `reuse`, do
    not run while the image is unchanged. max_age_s: the greatest age of data in its result; null: as in `reuse`.
    ignore: polygons, 0..1 of the image; detections with their center in one are dropped.
    priority: under high load, heads of lower priority are disabled first. schedule: when it runs; empty: always.
    """

    enabled: bool = True
    every_s: Seconds = 0.0
    on_change: bool = True
    max_age_s: Annotated[float, Range(0.1)] | None = None
    ignore: tuple[tuple[Point, ...], ...] = ()
    priority: int = 0
    schedule: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """Options of heads that detect: which detections exist for messages, rules and the page.

    labels: empty for all. min_area, max_area: of the box, as a share of the image. aspect: least and greatest
    width / height of the box in pixels; null: any.
    """

    labels: tuple[str, ...] = ()
    min_area: Fraction = 0.0
    max_area: Fraction = 1.0
    aspect: tuple[Annotated[float, Range(0)], Annotated[float, Range(0)]] | None = None


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """One enabled head. options: those of its family, from the manifest, overridden by config.yaml."""

    common: HeadCommon
    options: Mapping[str, Any]
    boxes: BoxConfig = BoxConfig()


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """results: which are published: `all`, `on_change` (they differ from the last published ones), or one in N seconds.

    status_every_s: interval of status messages; 0: none.
    """

    results: Literal["on_change", "all", "none"] | Annotated[float, Range(0.001)] = "on_change"
    status_every_s: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """The queue of undelivered messages (outbox/): on disk, or in memory if the disk fails.

    max_message_kb: a larger message is dropped and counted.
    """

    max_mb: Annotated[float, Range(1, 4096)] = 64.0
    max_memory_mb: Annotated[float, Range(0.05, 256)] = 4.0
    max_message_kb: Annotated[float, Range(1, 4096)] = 256.0


@dataclass(frozen=True, slots=True)
class SinkCommon:
    """The options that all sinks have. name: identifies the sink in the outbox; the default is its type."""

    type: str
    name: str = ""
