"""Replace a folder as a whole, so that a reader never sees half of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from edge_app.errors import ConfigError


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder under another name and rename it. Raises ConfigError if it cannot be written."""
    temporary = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as exc:
        raise ConfigError(f"{folder}: cannot be written: {exc.strerror}; expected free space") from exc
