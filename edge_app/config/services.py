"""The blocks `degrade`, `power`, `snapshots` and `web` of config.yaml: their options.

Not here: the services (pipeline/degradation.py, pipeline/idle.py, daemon/snapshots.py, web/).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import yaml

from edge_app.errors import ConfigError
from edge_app.options import Positive, Range, Seconds
from edge_app.options.document import Problems
from edge_app.options.secret import Secret
from edge_app.options.url import check_host

_MIN_TOKEN_LENGTH = 8
_SITE = re.compile(r"self|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")
_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class DegradeConfig:
    """When to reduce the load, and when to restore it (pipeline/degradation.py).

    temperature_c: of the hottest thermal zone. available_mb: available memory. latency_s: from capture to results.
    While one of them is exceeded, the load is reduced by one level every step_s; after climb_s with margin to all of
    them, it is raised by one level. The levels: half of the frames, a quarter of them, more reuse (if the block `reuse`
    enables any), fewer heads, only heartbeats.
    restart_mb: resident memory at which the daemon restarts cleanly; null: three quarters of its memory limit.
    """

    enabled: bool = True
    temperature_c: Annotated[float, Range(30, 150)] = 85.0
    available_mb: Annotated[float, Range(0)] = 12.0
    latency_s: Annotated[float, Range(0.01)] = 3.0
    step_s: Seconds = 10.0
    climb_s: Seconds = 60.0
    restart_mb: Annotated[float, Range(1)] | None = None


@dataclass(frozen=True, slots=True)
class PowerConfig:
    """Save power while nothing happens (pipeline/idle.py). Replays are not affected.

    idle_fps: the most frames per second then; null: all. governor: of CPU and NPU then, such as powersave; needs write
    access to /sys, and one camera in the process; null: unchanged. idle_after_s: without an event or a change of
    results. The first change restores both, so idle_fps bounds how late it is noticed.
    """

    idle_fps: Annotated[float, Range(0.1, 60)] | None = None
    governor: Literal["conservative", "ondemand", "powersave", "schedutil"] | None = None
    idle_after_s: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class SnapshotsConfig:
    """JPEG images of the frames in which events began, in a ring buffer under state_dir.

    what: the whole frame, or the box of the event if it has one. width: maximum, pixels.
    """

    enabled: bool = False
    what: Literal["frame", "crop"] = "frame"
    width: Annotated[int, Range(32, 4096)] = 640
    quality: Annotated[int, Range(10, 100)] = 80
    max_mb: Annotated[float, Range(0.1, 4096)] = 16.0
    max_files: Annotated[int, Range(1, 10000)] = 500


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The web page. host: the address to listen on; an address that is not loopback requires a token.

    token: scripts send it as `Authorization: Bearer …`, users type it in to log in.
    fps, width, quality: of the live view. viewers: maximum at the same time.
    Behind a reverse proxy: allowed_hosts: the names by which it is reached; with any, other names are rejected.
    base_path: the path under which it serves the page, such as /camera. frame_ancestors: the sites that may show the
    page in a frame, such as https://home.example:8123, or self.
    commands: whether the page may change the camera: switches, snapshots, Save; needs a token.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8080
    token: Secret | None = None
    fps: Annotated[float, Range(0.1, 30)] = 5.0
    width: Annotated[int, Range(64, 4096)] = 640
    quality: Annotated[int, Range(10, 100)] = 70
    viewers: Positive = 4
    allowed_hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()
    base_path: str = ""
    commands: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def read_token(self) -> str | None:
        """The token, None if none is configured. Raises ConfigError if it cannot be read or is too short."""
        token = None if self.token is None else self.token.read()
        if token is not None and len(token) < _MIN_TOKEN_LENGTH:
            found = f"{self.token} has fewer than {_MIN_TOKEN_LENGTH} characters"
            raise ConfigError(f"web.token: {found}; expected a long random token")
        return token


def check_web(web: WebConfig, nodes: Mapping[str, yaml.Node], problems: Problems) -> None:
    """Add a mistake to `problems` if the host is invalid, or other machines could reach the page without a token."""
    try:
        check_host(web.host)
    except ValueError as exc:
        problems.add(nodes.get("host"), f"web.host: {exc}")
    _check_proxy(web, nodes, problems)
    if web.commands and web.token is None:
        problems.add(nodes.get("commands"), "web.commands: found true without web.token; expected a token as file:PATH")
    if web.enabled and not web.loopback and web.token is None:
        problems.add(
            nodes.get("host"),
            f"web.host: found '{web.host}', which others can reach, and no web.token; "
            "expected 127.0.0.1, or a token such as file:PATH",
        )


def _check_proxy(web: WebConfig, nodes: Mapping[str, yaml.Node], problems: Problems) -> None:
    """Add the mistakes in the options for reverse proxies to `problems`."""
    for name in web.allowed_hosts:
        try:
            check_host(name)
        except ValueError as exc:
            problems.add(nodes.get("allowed_hosts"), f"web.allowed_hosts: {exc}")
    for site in web.frame_ancestors:
        if not _SITE.fullmatch(site):
            text = f"web.frame_ancestors: found {site!r}; expected self, or a site such as https://home.example:8123"
            problems.add(nodes.get("frame_ancestors"), text)
    if web.base_path and not _BASE_PATH.fullmatch(web.base_path):
        text = f"web.base_path: found {web.base_path!r}; expected a path such as /camera, without a slash at its end"
        problems.add(nodes.get("base_path"), text)
