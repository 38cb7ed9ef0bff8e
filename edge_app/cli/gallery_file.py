"""Change the file of a gallery: under a lock, as a whole, so that a crash or a full disk loses nobody.

Not here: its format (edge_app/gallery/file.py), the command (commands/gallery.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edge_app.commands import atomic_file
from edge_app.errors import ConfigError
from edge_app.gallery import Gallery, load
from edge_app.gallery.file import encode
from edge_app.options import Secret


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile. Creates the folder, for its owner alone."""
    try:
        _make_folder(path.parent)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise ConfigError(f"{path.parent}: cannot be used: {exc.strerror}; expected a folder to write to") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path, key: Secret | None, head: str, model: str | None) -> Gallery:
    """The gallery, empty without a file. model: the fingerprint to expect; None: any. Raises ConfigError."""
    found = load(path, key)
    if found is None:
        return Gallery(head, model or "")
    if model is not None and found.people and found.model != model:
        raise ConfigError(
            f"{path}: found embeddings of another model ({found.model}); expected those of this one ({model}): "
            "enroll the people again, with another state_dir or after `gallery remove --all`"
        )
    return found


def write(path: Path, gallery: Gallery, key: Secret | None) -> None:
    """Replace the file; without people, remove it. Raises ConfigError; the old file is then unchanged."""
    try:
        if gallery.people:
            atomic_file.replace(path, encode(gallery, None if key is None else key.read()))
            _give_to_owner(path)
        else:
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name}.new").unlink(missing_ok=True)  # left by a crash
            atomic_file.sync_folder(path.parent)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}; nothing was changed") from exc


def _make_folder(folder: Path) -> None:
    """Create the folder and state_dir, both for their owner alone."""
    for each in (folder.parent, folder):
        each.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)
            _give_to_owner(each)


def _give_to_owner(path: Path) -> None:
    """What root has made in the state_dir of a service belongs to the service's user."""
    owner = os.stat(path.parent)
    if os.geteuid() == 0 and owner.st_uid != os.lstat(path).st_uid:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
