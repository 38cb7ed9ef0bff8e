"""Plug-ins that only tests use. Their folders are appended to the packages' search paths, as a plug-in would be."""

from __future__ import annotations

from pathlib import Path

import edge_app.backends
import edge_app.sources

FOLDER = Path(__file__).parent


PACKAGES = ((edge_app.backends, str(FOLDER / "backends")), (edge_app.sources, str(FOLDER / "sources")))


def install() -> None:
    """Let `model: {backend: mischief}` and `source: {type: mischief}` be found, until the test ends."""
    for package, folder in PACKAGES:
        if folder not in package.__path__:
            package.__path__.append(folder)


def remove() -> None:
    """As if they had never been installed."""
    for package, folder in PACKAGES:
        if folder in package.__path__:
            package.__path__.remove(folder)
