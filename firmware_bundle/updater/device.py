"""The device apart from its releases: device.json, the data of its owner, and the updater itself.

Not here: releases and their configuration (releases.py, configuration.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import durable
from bundle import UpdateError


@dataclass(frozen=True)
class Device:
    """device.json. wipe: the folders that hold the data of the owner."""

    board: str
    wipe: tuple[str, ...]


def read(root: Path) -> Device:
    """Read device.json. Raises UpdateError if it is not as setup.sh writes it."""
    path = root / "device.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Device(str(fields["board"]), tuple(map(str, fields["wipe"])))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UpdateError(f"{path}: cannot be read: {exc}; expected board and wipe, as setup.sh writes it") from None


def adopt(root: Path, source: Path) -> None:
    """Install the updater in `source` atomically: ROOT/updater is a link."""
    with durable.locked(root):
        files = {path.name: path.read_bytes() for path in sorted(source.glob("*.py"))}
        digest = hashlib.sha256(b"".join(name.encode() + data for name, data in files.items())).hexdigest()
        own = root / f"updater-{digest[:12]}"
        if not own.exists():
            staging = own.with_name(own.name + durable.UNFINISHED)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            for name, data in files.items():
                durable.write_new(staging / name, [data], 0o755)
            durable.sync_folder(staging)
            staging.rename(own)
            durable.sync_folder(root)
        durable.set_link(root / "updater", own.name)
        for other in root.glob("updater-*"):
            if other != own:
                durable.remove_tree(other)


def wipe(root: Path) -> list[tuple[Path, int]]:
    """Remove the data of the owner: queue, snapshots, credentials, configuration. Returns files and sizes."""
    removed: list[tuple[Path, int]] = []
    with durable.locked(root):
        for folder in (*map(Path, read(root).wipe), root / "config"):
            removed += _empty(folder)
    return removed


def _empty(folder: Path) -> list[tuple[Path, int]]:
    """Remove the contents of a folder without following links in it. Returns the removed files."""
    if not folder.is_dir():
        return []
    folder = folder.resolve()  # the StateDirectory of a DynamicUser is a link
    found = []
    for parent, _, names in os.walk(folder):
        found += [(Path(parent, name), Path(parent, name).lstat().st_size) for name in names]
    for each in list(folder.iterdir()):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    durable.sync_folder(folder)
    return found
