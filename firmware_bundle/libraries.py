"""The libraries that a configuration needs beyond those of its board: the wheels that bring them, and what is missing.

The configuration is read as YAML only: `edge-app check` validates it. Needs python3-yaml.
Not here: downloading wheels and packing them (build.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boards import Board

HERE = Path(__file__).resolve().parent
_SMALL_MB = 64  # of memory: event clips are not for such boards
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Extra:
    """Libraries for a block of config.yaml that is enabled. wheels: the list in wheels/.

    machines: for which these wheels exist; () means all.
    """

    block: str
    wheels: str
    machines: tuple[str, ...] = ()


EXTRAS = (Extra("web", "web"), Extra("clips", "clips", ("x86_64", "aarch64")))
ENGINES = {"onnx": "onnxruntime", "rknn_lite": "rknn-toolkit-lite2", "ncnn": "ncnn"}  # backend: package


class ConfigurationError(Exception):
    """A board cannot run a configuration: one line with what was found and what was expected."""


def read(path: Path) -> Mapping[str, Any]:
    """The blocks of a configuration. Raises ConfigurationError, OSError, or ImportError without yaml."""
    import yaml

    if path.stat().st_size > _MAX_BYTES:
        raise ConfigurationError(f"{path}: found {path.stat().st_size:,} bytes; expected at most {_MAX_BYTES:,}")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(exc).split())[:200]}") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: found {type(found).__name__}; expected the blocks of config.yaml")
    return found


def extras(config: Mapping[str, Any], board: Board) -> list[Extra]:
    """The extras that a configuration asks for and that have wheels for this board."""
    return [e for e in EXTRAS if _enabled(config, e.block) and (not e.machines or board.machine in e.machines)]


def check(config: Mapping[str, Any], path: Path, name: str, board: Board) -> None:
    """Raises ConfigurationError if no release for this board can run the configuration. path, name: for the message."""
    model = config.get("model")
    backend = model.get("backend", "auto") if isinstance(model, dict) else "auto"
    if backend not in ("auto", board.backend):
        found = f"{path}: model.backend: found {str(backend)[:40]!r}, for which a bundle for {name} has no graphs"
        raise ConfigurationError(f"{found}; expected auto or {board.backend}")
    if _enabled(config, "clips") and board.ram_mb is not None and board.ram_mb <= _SMALL_MB:
        raise ConfigurationError(f"{path}: clips.enabled: found true; expected false: {name} has {board.ram_mb} MB")


def missing(config: Mapping[str, Any], board: Board, wheels: Iterable[Path]) -> Iterator[str]:
    """What a folder of wheels lacks for a board and a configuration, one line each: wrong machines, then packages."""
    found = set()
    for wheel in wheels:
        name, _, rest = wheel.stem.partition("-")
        platform = rest.rpartition("-")[2]
        if platform == "any" or board.machine in platform:
            found.add(_normal(name))
        else:
            yield f"{wheel.name}: found a wheel for {platform}; expected one for {board.machine or 'any machine'}"
    needed = {ENGINES[board.backend]: f"the backend {board.backend}"} if board.backend in ENGINES else {}
    for extra in extras(config, board):
        needed |= dict.fromkeys(pins(extra.wheels), f"{extra.block}.enabled: true")
    for package, by in needed.items():
        if package not in found:
            yield f"found no wheel of {package}, which {by} needs"


def pins(name: str) -> list[str]:
    """The packages of a list in wheels/, normalized."""
    lines = (HERE / f"wheels/{name}.txt").read_text(encoding="utf-8").splitlines()
    return [_normal(line.split("==")[0]) for line in lines if line and not line.startswith("#")]


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _enabled(config: Mapping[str, Any], block: str) -> bool:
    found = config.get(block)
    return isinstance(found, dict) and found.get("enabled") is True
