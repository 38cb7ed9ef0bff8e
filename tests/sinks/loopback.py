"""Build any sink of the registry so that it reaches a peer of a test, by the names and types of its options.

- an option marked `Url(scheme, …)`, or the options `host` and `port`: a TCP peer on 127.0.0.1
- an option `port` that is text: a serial line
- an option of type Path without a default: a new file

Every option whose name ends with `timeout_s` gets the shortest time that it accepts, 0.1 s at least.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from edge_app import registry
from edge_app.options import REQUIRED, Option, Range, Url
from edge_app.options.secret import Secret

SINKS = registry.names("sinks")


def options(type_: str) -> dict[str, Option]:
    return {option.name: option for option in registry.options("sinks", type_)}


def marks(option: Option) -> tuple[Any, ...]:
    """The parts of an option's type: str and Url of `Annotated[str, Url("http")] | None`."""

    def parts(annotation: Any) -> tuple[Any, ...]:
        metadata = getattr(annotation, "__metadata__", ())
        return (annotation, *metadata, *(part for each in get_args(annotation) for part in parts(each)))

    return parts(option.annotation)


def url_option(type_: str) -> str | None:
    return next((name for name, o in options(type_).items() if any(isinstance(m, Url) for m in marks(o))), None)


def is_network(type_: str) -> bool:
    return url_option(type_) is not None or {"host", "port"} <= options(type_).keys()


def schemes(type_: str) -> tuple[str, ...]:
    """The schemes of its URL."""
    url = url_option(type_)
    return () if url is None else next(m for m in marks(options(type_)[url]) if isinstance(m, Url)).schemes


def has_tls(type_: str) -> bool:
    """Whether it has an option `tls`, or a scheme and the same with an s: http, https."""
    return is_network(type_) and ("tls" in options(type_) or any(f"{s}s" in schemes(type_) for s in schemes(type_)))


def is_serial(type_: str) -> bool:
    return not is_network(type_) and "port" in options(type_) and str in marks(options(type_)["port"])


def secrets(type_: str) -> list[str]:
    """The names of the options that are references to secrets."""
    return [name for name, option in options(type_).items() if Secret in marks(option)]


def given(
    type_: str, folder: Path, *, port: int = 9, line: str = "/dev/null", tls: bool = False, **more: object
) -> dict[str, object]:
    """Options with which a sink can be built. port: of a TCP peer. line: the path of a serial line.

    tls: use the last scheme of the URL, or set the option `tls`.
    """
    known, chosen = options(type_), dict[str, object]()
    for name, option in known.items():
        if name.endswith("timeout_s"):
            low = max((m.low for m in marks(option) if isinstance(m, Range)), default=0.1)
            chosen[name] = max(low, 0.1)
        elif option.default is REQUIRED and Path in marks(option):
            chosen[name] = folder / f"{type_}.out"
    url = url_option(type_)
    if url is not None:
        plain, secure = schemes(type_)[0], schemes(type_)[-1]
        chosen[url] = f"{secure if tls else plain}://127.0.0.1:{port}/"
    elif is_network(type_):
        chosen.update({"host": "127.0.0.1", "port": port, **({"tls": True} if tls else {})})
    elif is_serial(type_):
        chosen["port"] = line
    missing = [n for n, o in known.items() if o.default is REQUIRED and n not in chosen]
    assert not missing, f"sink '{type_}' needs {missing}: name its address host and port, or mark it with Url"
    return {**chosen, **more}
