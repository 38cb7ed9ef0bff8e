"""The table of fuzz targets, their corpus and their temporary folders."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}


def target(*allowed: type[Exception]) -> Callable[[Target], Target]:
    """Register a target. allowed: the exceptions that its parser may raise for bad input."""

    def register(function: Target) -> Target:
        @functools.wraps(function)
        def run(data: bytes) -> None:
            with contextlib.suppress(*allowed):
                function(data)

        TARGETS[function.__name__] = run
        return run

    return register


def seeds(name: str) -> list[bytes]:
    """The corpus of a target, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@functools.cache
def folder(name: str) -> Path:
    """A temporary folder of one target, removed at exit."""
    made = tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-")
    _KEPT.append(made)
    return Path(made.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def write(name: str, data: bytes, file: str = "input") -> Path:
    """Write a file into the folder of a target."""
    path = folder(name) / file
    path.write_bytes(data)
    return path
