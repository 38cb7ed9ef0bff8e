"""What a device has beside its releases: device.json, what is its owner's, and the updater itself.

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
from bundle import Refused


@dataclass(frozen=True)
class Device:
    """What this device is. wipe: the folders whose contents are the owner's."""

    board: str
    wipe: tuple[str, ...]


def read(root: Path) -> Device:
    """Raises Refused where the file is not what setup.sh writes."""
    path = root / "device.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Device(str(fields["board"]), tuple(map(str, fields["wipe"])))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(f"{path}: cannot be read: {exc}; expected board and wipe, as setup.sh writes it") from None


def adopt(root: Path, source: Path) -> None:
    """Take the updater in `source` as this device's own, all of it at once: ROOT/updater is a link."""
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
        durable.point(root / "updater", own.name)
        for other in root.glob("updater-*"):
            if other != own:
                durable.remove_tree(other)


def wipe(root: Path) -> list[tuple[Path, int]]:
    """Remove what is the owner's: queue, snapshots, credentials, own configuration. Returns files and sizes."""
    removed: list[tuple[Path, int]] = []
    with durable.locked(root):
        for folder in (*map(Path, read(root).wipe), root / "config"):
            removed += _empty(folder)
    return removed


def _empty(folder: Path) -> list[tuple[Path, int]]:
    """Remove what is in a folder, following no link in it. Returns the files that were there."""
    if not folder.is_dir():
        return []
    folder = folder.resolve()  # systemd's StateDirectory of a DynamicUser is itself a link
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
