"""Replace a model folder atomically: write a temporary folder next to it, and rename that when it is complete.

Not here: the files in it (folder_writer.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from edge_app.errors import ConfigError, ModelError
from edge_app.model import manifest as manifests


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary folder that replaces `out` at the end, or is removed if an exception is raised.

    Files in `out` that are not part of its model (a clip, a README) are kept. Raises ConfigError if `out` exists and is
    not a model folder, ModelError if it cannot be written.
    """
    out = Path(os.path.abspath(out))
    kept = _other_files(out)
    staging: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        staging.chmod(0o755)
        yield staging
        for path in kept:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, staging / path.name)
        _swap(staging, out)
    except OSError as exc:
        raise ModelError(f"{out}: cannot be written: {exc.strerror or exc}; nothing was changed") from exc
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write model.yaml with the hash of every file in the folder, and load it. Raises ModelError if it is invalid."""
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != manifests.FILE
    }
    text = yaml.safe_dump({**manifest, "sha256": hashes}, sort_keys=False, default_flow_style=None, width=110)
    (folder / manifests.FILE).write_text("# Written by edge-app compile.\n" + text, encoding="utf-8")
    manifests.load(folder)


def _other_files(out: Path) -> list[Path]:
    if not out.exists():
        return []
    if not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; expected a folder")
    entries = sorted(out.iterdir())
    if not entries:
        return []
    if not (out / manifests.FILE).exists():
        raise ConfigError(
            f"--out {out}: contains files but no {manifests.FILE}; expected a new folder, or a model folder to replace"
        )
    old = manifests.load(out)
    own = {*old.files(), *old.sha256, *old.fused.values(), manifests.FILE, manifests.GOLDEN}
    return [path for path in entries if path.name not in own]


def _swap(staging: Path, out: Path) -> None:
    if not out.exists():
        staging.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old / out.name)
    try:
        staging.rename(out)
    except OSError:
        (old / out.name).rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
