"""The device apart from its releases: device.json, the data of its owner, and the updater itself.

Not here: releases and their configuration (releases.py, configuration.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import durable
from bundle import UpdateError

_MAX_BYTES = 1 << 20  # of device.json and of a file of the updater
_MAX_SHOWN = 4096  # characters of the path of a removed file
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Device:
    """device.json. wipe: the folders that hold the data of the owner."""

    board: str
    wipe: tuple[str, ...]


def read(root: Path) -> Device:
    """Read device.json. Raises UpdateError if it is not as setup.sh writes it."""
    path = root / "device.json"
    try:
        fields = json.loads(durable.read_file(path, _MAX_BYTES))
        board, wipe = fields["board"], fields["wipe"]
    except OSError as exc:
        raise UpdateError(f"{path}: cannot be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise UpdateError(f"{path}: cannot be read: {exc}; expected board and wipe, as setup.sh writes it") from None
    folders = isinstance(wipe, list) and all(isinstance(each, str) and each.startswith("/") for each in wipe)
    if not isinstance(board, str) or not folders:
        raise UpdateError(f"{path}: found other types; expected board and absolute folders, as setup.sh writes it")
    return Device(board, tuple(wipe))


def adopt(root: Path, source: Path) -> None:
    """Install the updater in `source` atomically: ROOT/updater is a link."""
    with durable.locked(root):
        files = {path.name: durable.read_file(path, _MAX_BYTES) for path in sorted(source.glob("*.py"))}
        digest = hashlib.sha256(b"".join(name.encode() + data for name, data in files.items())).hexdigest()
        own = root / f"updater-{digest[:12]}"
        if not own.exists():
            staging = own.with_name(own.name + durable.UNFINISHED)
            durable.remove_tree(staging)
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
    """Remove the contents of a folder without following links in it. Returns the removed files.

    The daemon made the tree: it can have any depth, and may change during this call. Each folder is moved to the top
    before it is emptied, which bounds the recursion, the open descriptors and the length of paths.
    """
    if not folder.is_dir():
        return []
    folder = folder.resolve()  # the StateDirectory of a DynamicUser is a link
    removed: list[tuple[Path, int]] = []
    folders = [(".", str(folder))]  # name below `folder`, and path before it was renamed
    top = os.open(folder, _FOLDER)
    try:
        for name, shown in folders:  # grows in the loop
            fd = os.open(name, _FOLDER, dir_fd=top)
            try:
                _empty_one(fd, top, shown, folders, removed)
            finally:
                os.close(fd)
        for name, _ in folders[1:]:
            os.rmdir(name, dir_fd=top)
        os.fsync(top)
    finally:
        os.close(top)
    return removed


def _empty_one(fd: int, top: int, shown: str, folders: list[tuple[str, str]], removed: list[tuple[Path, int]]) -> None:
    with os.scandir(fd) as found:
        entries = list(found)
    for entry in entries:
        was = f"{shown}/{entry.name}"[:_MAX_SHOWN]
        if entry.is_dir(follow_symlinks=False):
            moved = os.urandom(8).hex()
            os.rename(entry.name, moved, src_dir_fd=fd, dst_dir_fd=top)
            folders.append((moved, was))
        else:
            removed.append((Path(was), entry.stat(follow_symlinks=False).st_size))
            os.unlink(entry.name, dir_fd=fd)
