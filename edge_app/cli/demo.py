"""The demo: the default configuration with its model and clip, from the installed package or from the checkout.

setup.py copies these files into a wheel. A camera's release does not have them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.errors import ConfigError

if TYPE_CHECKING:
    from edge_app.config import Config

CONFIG = Path("config.yaml")
MODEL = Path("models/digits")
CLIP = MODEL / "sample.mp4"
SCHEMA = "config.schema.json"
_LEFT_OUT = ("README.md", "sample.png", "sample.truth.jsonl")  # of a checkout's model folder
_SCHEMA_LINE = re.compile(r"^(# yaml-language-server: \$schema=).*$", re.MULTILINE)


def folder() -> Path:
    """The folder that has CONFIG, MODEL and CLIP. Raises ConfigError if this installation has none."""
    package = Path(__file__).resolve().parent.parent
    for found in (package / "demo", package.parent):
        if (found / CONFIG).is_file() and (found / MODEL).is_dir():
            return found
    raise ConfigError(f"{package}: found no demo in this installation; expected the full package, on a host computer")


def file(name: Path) -> Path:
    """MODEL or CLIP: the one in the working directory, or else the demo's. Raises ConfigError as `folder` does."""
    return name if name.exists() else folder() / name


def load(source: str | None, model: Path | None) -> Config:
    """The demo's configuration, with its state in the working directory. source, model: as in `config.load`."""
    from edge_app import config

    loaded = config.load(folder() / CONFIG, source=source, model=model)
    return loaded.replaced(device=replace(loaded.device, state_dir=Path("state")))


def write(target: Path, schema: str) -> list[str]:
    """Write a folder that runs: the configuration, its JSON Schema, the model and the clip. Returns what it wrote.

    The model appears as a whole, and the configuration last. Raises ConfigError if one of them is there, and nothing is
    replaced; also if the folder cannot be written.
    """
    origin = folder()
    for name in (CONFIG, Path(SCHEMA), MODEL):
        if os.path.lexists(target / name):
            raise ConfigError(f"{target / name}: found one; expected none: init replaces no file")
    part = target / MODEL.with_name(f".{MODEL.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(origin / MODEL, part, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for copied in (part, *part.iterdir()):
            copied.chmod(0o755 if copied.is_dir() else 0o644)  # the package's may be read-only
        part.rename(target / MODEL)
        (target / SCHEMA).write_text(schema, encoding="utf-8")
        text = (origin / CONFIG).read_text(encoding="utf-8")
        (target / CONFIG).write_text(_SCHEMA_LINE.sub(rf"\g<1>{SCHEMA}", text), encoding="utf-8")
    except OSError as exc:
        for copy in (part, target / MODEL):  # none of them was there before
            shutil.rmtree(copy, ignore_errors=True)
        for name in (CONFIG, Path(SCHEMA)):
            with contextlib.suppress(OSError):
                (target / name).unlink()
        reason = exc.strerror or "a file could not be copied"  # shutil.Error has no strerror
        raise ConfigError(f"{target}: cannot be written: {reason}; expected a writable folder") from exc
    return [str(CONFIG), SCHEMA, str(MODEL)]
