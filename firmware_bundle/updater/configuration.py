"""The device's own configuration, across releases: one that came with a release is tried and taken back with it.

    config.yaml              what runs; where it is absent, the one inside the release does
    config.yaml.for-NAME     came with the release NAME; takes its place when that is first started
    config.yaml.before-NAME  what ran before that; empty where there was none
    config.yaml.schema-N     what ran before a release whose schema of the configuration differs

A step that was interrupted is done again by the next start. Not here: which release runs (releases.py).
"""

from __future__ import annotations

import stat
from pathlib import Path

import durable
from state import State

NAME = "config.yaml"
_FOR, _BEFORE = f"{NAME}.for-", f"{NAME}.before-"


def offer(folder: Path, release: str, data: bytes) -> None:
    """Lay a configuration down for the first start of a release."""
    durable.make_folders(folder)
    durable.replace(folder / f"{_FOR}{release}", data)


def take(folder: Path, release: str) -> None:
    """Put what was offered for a release in its place, and what ran before aside."""
    offered, before, config = folder / f"{_FOR}{release}", folder / f"{_BEFORE}{release}", folder / NAME
    if not offered.is_file():
        return
    if not before.exists():
        durable.replace(before, config.read_bytes() if config.is_file() else b"", _mode(config))
    offered.rename(config)
    durable.sync_folder(folder)


def settle(folder: Path, state: State) -> None:
    """Put back what ran before a release that was not kept; forget what is no longer needed."""
    on_trial = state.trial.release if state.trial else None
    failed = state.failed.release if state.failed else None
    for before in sorted(folder.glob(f"{_BEFORE}*")):
        release = before.name.removeprefix(_BEFORE)
        if release == on_trial or release.endswith(durable.UNFINISHED):
            continue
        if release != state.good or release == failed:
            _put_back(before)
        before.unlink(missing_ok=True)
        durable.sync_folder(folder)
    for offered in folder.glob(f"{_FOR}*"):
        if offered.name != f"{_FOR}{on_trial}":
            offered.unlink()


def exchange(folder: Path, here: int, there: int) -> None:
    """From a release of schema `here` to one of schema `there`: keep the present one, and take out the older one.

    A newer release reads or migrates an older configuration itself.
    """
    config, kept = folder / NAME, folder / f"{NAME}.schema-{there}"
    if here == there or not config.is_file():
        return
    data = config.read_bytes()
    if there < here and kept.is_file() and kept.read_bytes() == data:
        return  # done already
    durable.replace(folder / f"{NAME}.schema-{here}", data, _mode(config))
    if there < here and kept.is_file():
        durable.replace(config, kept.read_bytes(), _mode(config))


def _put_back(before: Path) -> None:
    config = before.with_name(NAME)
    if before.stat().st_size:
        before.rename(config)
    else:
        config.unlink(missing_ok=True)
    durable.sync_folder(config.parent)


def _mode(config: Path) -> int:
    return stat.S_IMODE(config.stat().st_mode) if config.is_file() else 0o644
