"""The blocks `degrade`, `snapshots` and `web` of config.yaml: what may stand in them.

Not here: what is made of them (ladder.py, snapshots.py, web/).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import yaml

from edge_app.options import Positive, Range, Seconds
from edge_app.options.document import Problems
from edge_app.options.secret import Secret


@dataclass(frozen=True, slots=True)
class DegradeConfig:
    """When to do less rather than fail, and when to do more again (ladder.py).

    temperature_c: of the hottest thermal zone; available_mb: memory that is left; latency_s: from capture to results;
    beyond any of them for step_s, one step down; well within all of them for climb_s, one step up. The steps are half
    and a quarter of the frames, more reuse (where the block `reuse` allows any), fewer heads, heartbeats only.
    restart_mb: resident memory at which the daemon restarts in order; null: three quarters of what it may use.
    """

    enabled: bool = True
    temperature_c: Annotated[float, Range(30, 150)] = 85.0
    available_mb: Annotated[float, Range(0)] = 12.0
    latency_s: Annotated[float, Range(0.01)] = 3.0
    step_s: Seconds = 10.0
    climb_s: Seconds = 60.0
    restart_mb: Annotated[float, Range(1)] | None = None


@dataclass(frozen=True, slots=True)
class SnapshotsConfig:
    """JPEG pictures of the moments at which events began, in a ring under state_dir.

    what: the whole frame, or the box that an event names where it names one. width: at most, pixels.
    """

    enabled: bool = False
    what: Literal["frame", "crop"] = "frame"
    width: Annotated[int, Range(32, 4096)] = 640
    quality: Annotated[int, Range(10, 100)] = 80
    max_mb: Annotated[float, Range(0.1, 4096)] = 16.0
    max_files: Annotated[int, Range(1, 10000)] = 500


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The page. host: an address of this machine; any but a loopback one needs a token.

    token: what scripts send as `Authorization: Bearer …` and people type in to log in.
    fps, width, quality: of the live view. viewers: at most, at a time.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8080
    token: Secret | None = None
    fps: Annotated[float, Range(0.1, 30)] = 5.0
    width: Annotated[int, Range(64, 4096)] = 640
    quality: Annotated[int, Range(10, 100)] = 70
    viewers: Positive = 4

    @property
    def loopback(self) -> bool:
        """Whether only this machine itself can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def check_web(web: WebConfig, nodes: Mapping[str, yaml.Node], problems: Problems) -> None:
    """Note where the page would stand open to others."""
    if web.enabled and not web.loopback and web.token is None:
        problems.add(
            nodes.get("host"),
            f"web.host: found '{web.host}', which others can reach, and no web.token; "
            "expected 127.0.0.1, or token: file:PATH beside it",
        )
