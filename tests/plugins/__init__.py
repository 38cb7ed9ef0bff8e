"""Plug-ins that only tests use. `backends/` is appended to the package's search path, as a plug-in's file would be."""

from __future__ import annotations

from pathlib import Path

import edge_app.backends

FOLDER = Path(__file__).parent / "backends"


def install() -> None:
    """Let `model: {backend: mischief}` be found."""
    if str(FOLDER) not in edge_app.backends.__path__:
        edge_app.backends.__path__.append(str(FOLDER))
