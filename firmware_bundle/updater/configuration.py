"""The device's own configuration, across releases: one that is deployed with a release is rolled back with it.

    config.yaml              the configuration in use; without it, the release's default applies
    config.yaml.for-NAME     deployed with release NAME; becomes config.yaml at its first start
    config.yaml.before-NAME  the configuration before that; empty if there was none
    config.yaml.schema-N     the configuration before a release with another configuration schema

The next start repeats an interrupted step. Not here: which release runs (releases.py).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import durable
from state import State

NAME = "config.yaml"
_MAX_BYTES = 1 << 20
_FOR, _BEFORE = f"{NAME}.for-", f"{NAME}.before-"


def offer(folder: Path, release: str, data: bytes) -> None:
    """Store a configuration for the first start of a release."""
    durable.make_folders(folder)
    durable.replace(folder / f"{_FOR}{release}", data)


def apply_offered(folder: Path, release: str) -> None:
    """Put the configuration that was deployed with a release into use, and save the one before."""
    offered, before, config = folder / f"{_FOR}{release}", folder / f"{_BEFORE}{release}", folder / NAME
    if not offered.is_file():
        return
    if not os.path.lexists(before):
        data, mode = _read(config) or (b"", 0o644)
        durable.replace(before, data, mode)
    durable.rename_over(offered, config)
    durable.sync_folder(folder)


def clean_up(folder: Path, state: State) -> None:
    """Restore the configuration before a release that was rolled back; remove files that are no longer needed."""
    on_trial = state.trial.release if state.trial else None
    failed = state.failed.release if state.failed else None
    for before in sorted(folder.glob(f"{_BEFORE}*")):
        release = before.name.removeprefix(_BEFORE)
        if release == on_trial or release.endswith(durable.UNFINISHED):
            continue
        if release != state.good or release == failed:
            _restore(before)
        durable.discard(before)
        durable.sync_folder(folder)
    for offered in folder.glob(f"{_FOR}*"):
        if offered.name != f"{_FOR}{on_trial}":
            durable.discard(offered)


def exchange(folder: Path, here: int, there: int) -> None:
    """Switch from schema `here` to schema `there`: save the current file and restore the older one.

    A newer release reads or migrates an older configuration itself.
    """
    config, older = folder / NAME, folder / f"{NAME}.schema-{there}"
    found = None if here == there else _read(config)
    if found is None:
        return
    data, mode = found
    kept = _read(older) if there < here else None
    if kept is not None and kept[0] == data:
        return  # already switched
    durable.replace(folder / f"{NAME}.schema-{here}", data, mode)
    if kept is not None:
        durable.replace(config, kept[0], mode)


def _restore(before: Path) -> None:
    config = before.with_name(NAME)
    if not before.is_file():  # not made by `apply_offered`
        return
    if before.stat().st_size:
        durable.rename_over(before, config)
    else:
        durable.discard(config)
    durable.sync_folder(config.parent)


def _read(path: Path) -> tuple[bytes, int] | None:
    """Content and mode; None for anything but a regular file. Raises OSError if it cannot be read or is too large."""
    if not path.is_file():
        return None
    with durable.open_file(path, _MAX_BYTES, follow_links=True) as file:  # only root can write to this folder
        return file.read(_MAX_BYTES), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
