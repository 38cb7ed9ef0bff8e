"""The device's own configuration, across releases: one that is deployed with a release is rolled back with it.

    config.yaml              the configuration in use; without it, the release's default applies
    config.yaml.for-NAME     deployed with release NAME; becomes config.yaml at its first start
    config.yaml.before-NAME  the configuration before that; empty if there was none
    config.yaml.schema-N     the configuration before a release with another configuration schema

The next start repeats an interrupted step. Not here: which release runs (releases.py).
"""

from __future__ import annotations

import stat
from pathlib import Path

import durable
from state import State

NAME = "config.yaml"
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
    if not before.exists():
        durable.replace(before, config.read_bytes() if config.is_file() else b"", _mode(config))
    offered.rename(config)
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
        before.unlink(missing_ok=True)
        durable.sync_folder(folder)
    for offered in folder.glob(f"{_FOR}*"):
        if offered.name != f"{_FOR}{on_trial}":
            offered.unlink()


def exchange(folder: Path, here: int, there: int) -> None:
    """Switch from schema `here` to schema `there`: save the present file and restore the older one.

    A newer release reads or migrates an older configuration itself.
    """
    config, kept = folder / NAME, folder / f"{NAME}.schema-{there}"
    if here == there or not config.is_file():
        return
    data = config.read_bytes()
    if there < here and kept.is_file() and kept.read_bytes() == data:
        return  # already switched
    durable.replace(folder / f"{NAME}.schema-{here}", data, _mode(config))
    if there < here and kept.is_file():
        durable.replace(config, kept.read_bytes(), _mode(config))


def _restore(before: Path) -> None:
    config = before.with_name(NAME)
    if before.stat().st_size:
        before.rename(config)
    else:
        config.unlink(missing_ok=True)
    durable.sync_folder(config.parent)


def _mode(config: Path) -> int:
    return stat.S_IMODE(config.stat().st_mode) if config.is_file() else 0o644
