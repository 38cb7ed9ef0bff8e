"""The network sources of the registry, for the contract suites: those with an option annotated with `Url`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from edge_app import registry
from edge_app.clock import SystemClock
from edge_app.options import Secret, Url
from edge_app.sources import Source
from tests.hostile_peers import HTTP, RTSP, Protocol

TIMEOUT_S = 0.5


def url_options(type_: str) -> dict[str, Url]:
    """The options of a source that are addresses of peers."""
    marks = {
        o.name: [m for m in get_args(o.annotation)[1:] if isinstance(m, Url)]
        for o in registry.options("sources", type_)
    }
    return {name: found[0] for name, found in marks.items() if found}


TYPES = [type_ for type_ in registry.names("sources") if url_options(type_)]


def protocol(type_: str) -> Protocol:
    (url,) = url_options(type_).values()
    return RTSP if "rtsp" in url.schemes else HTTP


def secret_options(type_: str) -> list[str]:
    return [o.name for o in registry.options("sources", type_) if Secret in (o.annotation, *get_args(o.annotation))]


def open_source(type_: str, rest: str, **options: Any) -> Source:
    """Construct a source with short timeouts. rest: its address after `://`."""
    ((name, url),) = url_options(type_).items()
    names = [option.name for option in registry.options("sources", type_)]
    timeouts = {each: TIMEOUT_S for each in names if each.endswith("timeout_s")}
    return registry.build(
        "sources", type_, SystemClock(), **{name: f"{url.schemes[0]}://{rest}", **timeouts, **options}
    )


def read_until_lost(source: Source) -> None:
    """Read frames for as long as there are any. Raises SourceError."""
    while True:
        source.read(1.0)


def peak_bytes() -> int:
    """Peak resident memory since the last `reset_peak`."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Returns the peak after the reset: the resident memory now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()
