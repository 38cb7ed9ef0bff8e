"""Replace a model folder atomically: write a temporary folder next to it, and rename that when it is complete.

Only a folder as the compiler wrote it is replaced; the first line of its model.yaml has a hash of the rest. Not here:
the files in it (folder_writer.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from edge_app import registry
from edge_app.backends import MAX_GRAPH
from edge_app.errors import ConfigError, ModelError
from edge_app.model import manifest as manifests
from edge_app.options.files import MAX_TEXT, read_regular

_HEADER = "# Written by edge-app compile"


def check_out(out: Path, *, force: bool = False) -> Path | None:
    """Raise ConfigError unless `out` can be written: absent, empty, or a model folder as the compiler wrote it.

    force: any model folder is accepted. Returns where `out` has to be kept if the compiler did not write it, else None.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; expected a folder")
    if not any(out.iterdir()):
        return None
    if not (out / manifests.FILE).exists():
        raise ConfigError(
            f"--out {out}: contains files but no {manifests.FILE}; expected a new folder, or a model folder to replace"
        )
    changed = _changed_by_others(out)
    if changed and not force:
        raise ConfigError(
            f"--out {out}: {changed}; expected a folder as edge-app compile wrote it, or --force, which keeps a backup"
        )
    return _backup_name(Path(os.path.abspath(out))) if changed else None


@contextmanager
def staged(out: Path, backup: Path | None = None) -> Iterator[Path]:
    """A temporary folder that replaces `out` at the end, or is removed if an exception is raised.

    Files in `out` that are not part of its model (a clip, a README) are kept. backup: what `check_out` has returned;
    the old folder is kept there. Raises ConfigError if `out` must not be replaced, ModelError if it cannot be written.
    """
    out = Path(os.path.abspath(out))
    if backup is None:
        check_out(out)
    staging: Path | None = None
    created = [parent for parent in out.parents if not parent.exists()]
    try:
        kept = _other_files(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        staging.chmod(0o755)
        yield staging
        for path in kept:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, staging / path.name)
        _swap(staging, out, backup)
    except OSError as exc:
        raise ModelError(f"{out}: cannot be written: {exc.strerror or exc}; nothing was changed") from exc
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for parent in created:  # stops at the first that is not empty
            with suppress(OSError):
                parent.rmdir()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write model.yaml with the hash of every file in the folder, and load it. Raises ModelError if it is invalid.

    The characters of a head that reads text become a file: a list of many thousands takes seconds to parse.
    """
    manifest = {**manifest, "heads": {n: _with_label_file(folder, n, head) for n, head in manifest["heads"].items()}}
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != manifests.FILE
    }
    text = yaml.safe_dump({**manifest, "sha256": hashes}, sort_keys=False, default_flow_style=None, width=110)
    (folder / manifests.FILE).write_text(f"{_HEADER} {_digest(text)}\n{text}", encoding="utf-8")
    manifests.load(folder)


def _with_label_file(folder: Path, name: str, head: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = head.get("labels")
    if not isinstance(labels, list) or not getattr(registry.find("heads", head["family"]), "characters", False):
        return head
    file = f"{name}.txt"
    (folder / file).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8", newline="")
    return {**head, "labels": file}


def _digest(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()[:16]


def _changed_by_others(out: Path) -> str:
    """How a model folder differs from what the compiler wrote, as text; "" if it does not."""
    try:
        text = read_regular(out / manifests.FILE, MAX_TEXT).decode(errors="replace")
    except OSError as exc:
        return f"its {manifests.FILE} cannot be read: {exc.strerror}"
    first, _, rest = text.partition("\n")
    if not first.startswith(_HEADER):
        return f"its {manifests.FILE} was not written by edge-app compile"
    digest = first[len(_HEADER) :].strip(" .\r")  # earlier versions wrote none
    if digest and digest != _digest(rest):
        return f"its {manifests.FILE} was changed since edge-app compile wrote it"
    try:
        hashes = manifests.load(out).sha256
        for name, expected in hashes.items():
            path = out / name
            if path.exists() and hashlib.sha256(read_regular(path, MAX_GRAPH)).hexdigest() != expected:
                return f"its {name} was changed since edge-app compile wrote it"
    except (ModelError, OSError):
        return f"its {manifests.FILE} names files that cannot be read"
    return ""


def _other_files(out: Path) -> list[Path]:
    """The files in `out` that are not part of its model. A folder with a manifest that is invalid has none."""
    if not out.exists() or not (out / manifests.FILE).exists():
        return []
    try:
        old = manifests.load(out)
    except ModelError:
        return []
    own = {*old.files(), *old.sha256, *old.fused.values(), manifests.FILE, manifests.GOLDEN}
    return [path for path in sorted(out.iterdir()) if path.name not in own]


def _backup_name(out: Path) -> Path:
    """A free name next to `out`: NAME.backup, NAME.backup2 …"""
    names = (f"{out.name}.backup{i if i > 1 else ''}" for i in count(1))
    return next(path for name in names if not (path := out.with_name(name)).exists())


def _swap(staging: Path, out: Path, backup: Path | None) -> None:
    """Put `staging` in the place of `out`. backup: where the old folder is kept; None removes it."""
    if not out.exists():
        staging.rename(out)
        return
    if backup is not None:
        _exchange(staging, out, backup)
        return
    holder = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    try:
        _exchange(staging, out, holder / out.name)
    except OSError:
        with suppress(OSError):  # not empty if the old folder could not be put back
            holder.rmdir()
        raise
    shutil.rmtree(holder, ignore_errors=True)


def _exchange(staging: Path, out: Path, old: Path) -> None:
    """Rename `out` to `old`, and `staging` to `out`. If the second fails, the first is undone."""
    out.rename(old)
    try:
        staging.rename(out)
    except OSError:
        old.rename(out)
        raise
