"""Plug-ins that only tests use. Their folders are appended to the packages' search paths, as a plug-in would be."""

from __future__ import annotations

from pathlib import Path

import edge_app.backends
import edge_app.sources

FOLDER = Path(__file__).parent


def install() -> None:
    """Let `model: {backend: mischief}` and `source: {type: mischief}` be found."""
    for package, name in ((edge_app.backends, "backends"), (edge_app.sources, "sources")):
        if str(FOLDER / name) not in package.__path__:
            package.__path__.append(str(FOLDER / name))
