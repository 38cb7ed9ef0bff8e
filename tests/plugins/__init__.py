"""Plug-ins for tests, in folders that are appended to the search paths of the packages of plug-ins."""

from __future__ import annotations

from pathlib import Path

import edge_app.backends
import edge_app.rules
import edge_app.sinks
import edge_app.sources

FOLDER = Path(__file__).parent

PACKAGES = (
    (edge_app.backends, str(FOLDER / "backends")),
    (edge_app.rules, str(FOLDER / "rules")),
    (edge_app.sinks, str(FOLDER / "sinks")),
    (edge_app.sources, str(FOLDER / "sources")),
)


def install() -> None:
    """Make the types in these folders available until the test ends."""
    for package, folder in PACKAGES:
        if folder not in package.__path__:
            package.__path__.append(folder)


def remove() -> None:
    """Undo `install`."""
    for package, folder in PACKAGES:
        if folder in package.__path__:
            package.__path__.remove(folder)
