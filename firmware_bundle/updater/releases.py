"""The releases of one device: install, try, keep, roll back.

Not here: the bundle format (bundle.py), the device's own configuration (configuration.py), the health of a release
(trial.py follows its health file).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import bundle
import configuration
import device
import durable
import state as states
from bundle import Manifest, UpdateError
from state import TRIES, Failure, State, Trial
from text import one_line

SPARE_BYTES = 1 << 20
_MAX_CONFIG = 1 << 20
_MAX_REASON = 1000  # characters


class Slots:
    """The releases of one device. Each command holds the lock of the updater.

    spare_bytes: free space that a new release must leave.
    """

    def __init__(self, root: Path, boot_id: str, spare_bytes: int = SPARE_BYTES) -> None:
        self.root = root
        self._spare_bytes = spare_bytes
        self._boot_id = boot_id
        self._state_file = root / "state.json"
        self._link = root / "current"
        self._config = root / "config"

    def state(self) -> State:
        """The content of state.json; if it cannot be read, the release that `current` points to is good."""
        try:
            return states.read(self._state_file)
        except FileNotFoundError:
            reason = ""
        except ValueError as exc:
            reason = str(exc)
        running = self._running()
        good = running if self._whole(running) else None
        return State(good=good, failed=Failure(running, reason) if reason else None)

    def install(self, file: Path, config: Path | None = None) -> tuple[str, str]:
        """Verify a bundle and put its release on trial from the next start on, even if it is the good one already.

        config: the device's own configuration, tried with it. Returns the release's name and a line to print.
        Raises UpdateError; nothing has changed then.
        """
        with durable.locked(self.root), _open(file) as opened:
            state, board = self.state(), device.read(self.root).board
            found = bundle.open_signed(opened, sorted((self.root / "keys").glob("*.pem")))
            self._check_fits(found.manifest, board, state)
            release = found.manifest.release
            bundle.verify_payload(found)
            offered = _read(config) if config else None
            self._make_room(found.manifest, state)
            if not self._whole(release):
                self._unpack(found)
            configuration.clean_up(self._config, state)
            if offered is not None:
                configuration.offer(self._config, release, offered)
            self._write(replace(state, trial=Trial(release), failed=None))
            return release, f"{release} will be tried at the next start"

    def boot(self, report: str = "") -> tuple[str, str]:
        """Choose the release of this start, and count the start if the release is on trial.

        report: the health report of the last start, for the reason of a failure. Returns the release's name and a
        line for the log. Raises UpdateError if there is no release.
        """
        try:
            with durable.locked(self.root):
                return self._choose(report)
        except OSError as exc:  # full or read-only disk: running matters more than counting
            running = self._running()
            if not self._whole(running):
                raise
            return running, f"{exc}; starting {running} anyway"

    def mark_good(self) -> str:
        """Keep the release that is on trial. Raises UpdateError if none is."""
        with durable.locked(self.root):
            state = self.state()
            if state.trial is None or state.trial.boot_id is None:
                raise UpdateError("no started release is on trial; expected one")
            release = state.trial.release
            previous = state.good if state.good != release else state.previous
            kept = State(good=release, previous=previous)
            self._write(kept)
            configuration.clean_up(self._config, kept)
            return release

    def rollback(self, reason: str) -> str | None:
        """Roll back from the next start on: end a trial, else return to the previous release. reason: any text.

        Returns the release that will run; None if there is no previous release and nothing changed.
        """
        with durable.locked(self.root):
            state, reason = self.state(), one_line(reason, _MAX_REASON)
            if state.trial:
                back = state.good
                failed = Failure(state.trial.release, reason)
                after = replace(state, trial=None, failed=failed)
            else:
                back = state.previous
                failed = Failure(state.good or "", reason)
                after = State(good=back, previous=None, failed=failed)
            if back is None or not self._whole(back):
                if state.trial:
                    self._write(replace(state, failed=failed))
                return None
            self._write(after)
            return back

    def _choose(self, report: str) -> tuple[str, str]:
        state, message = self.state(), ""
        if state.trial:
            state, message = self._count_start(state, state.trial, report)
            self._write(state)
        chosen = next((each for each in (state.chosen, self._running()) if each and self._whole(each)), None)
        if chosen is None:
            raise UpdateError(f"{self.root}: no release is installed; expected `install BUNDLE` first")
        try:
            self._switch_config(state, chosen)
        except OSError as exc:
            if state.trial:
                raise
            message = f"{message or f'starting {chosen}'}; its configuration: {exc}"
        if self._running() != chosen:
            durable.set_link(self._link, f"releases/{chosen}")
        return chosen, message or f"starting {chosen}"

    def _running(self) -> str:
        """The release that the last start chose; empty before the first start."""
        return self._link.readlink().name if self._link.is_symlink() else ""

    def _whole(self, release: str) -> bool:
        named = bundle.RELEASE.fullmatch(release) is not None
        return named and (self.root / "releases" / release / bundle.MANIFEST).is_file()

    def _schema(self, release: str) -> int | None:
        """The configuration schema of a release; None if its manifest cannot be read."""
        path = self.root / "releases" / release / bundle.MANIFEST
        try:
            return bundle.parse(durable.read_file(path, bundle.MAX_MANIFEST)).schemas.get("config", 1)
        except (OSError, UpdateError):
            return None

    def _check_fits(self, manifest: Manifest, board: str, state: State) -> None:
        """Raises UpdateError for another board, an older version, or one that cannot be installed over this one."""
        if manifest.board != board:
            raise UpdateError(f"made for the board {manifest.board}; this device is {board}")
        if state.good is None:
            return
        good = state.good.rpartition("-")[0]  # its manifest may be damaged
        here, new = bundle.version_key(good), bundle.version_key(manifest.version)
        if new < here and not manifest.allow_older:
            raise UpdateError(f"version {manifest.version} is older than {good}; expected the same or a newer one")
        if here < bundle.version_key(manifest.minimum_version):
            raise UpdateError(f"needs version {manifest.minimum_version} or newer on the device; found {good}")

    def _make_room(self, manifest: Manifest, state: State) -> None:
        """Remove releases that no start can choose. Raises UpdateError if the new one still does not fit."""
        releases = self.root / "releases"
        durable.make_folders(releases)
        running = self._running()  # its process may still read from it
        for folder in sorted(releases.iterdir()):
            if folder.name not in (state.good, running, manifest.release):
                if state.trial and folder.name == state.trial.release:
                    self._write(replace(state, trial=None))
                durable.remove_tree(folder)
        free = os.statvfs(releases)
        room = free.f_bavail * free.f_frsize - self._spare_bytes
        if manifest.unpacked_bytes > room and not self._whole(manifest.release):
            raise UpdateError(f"needs {manifest.unpacked_bytes:,} bytes; found {max(room, 0):,} free in {releases}")

    def _unpack(self, found: bundle.Bundle) -> None:
        folder = self.root / "releases" / found.manifest.release
        staging = folder.with_name(folder.name + durable.UNFINISHED)
        if folder.exists():  # incomplete: a disk that lost files
            durable.remove_tree(folder)
        try:
            bundle.unpack(found, staging)
        except (OSError, UpdateError) as exc:
            shutil.rmtree(staging, ignore_errors=True)
            raise UpdateError(f"{staging}: {exc}") from exc
        staging.rename(folder)
        durable.sync_folder(folder.parent)

    def _count_start(self, state: State, trial: Trial, report: str) -> tuple[State, str]:
        """The state after one more start of a release on trial, and the line for the log."""
        if trial.boot_id not in (None, self._boot_id):
            reason = "the device restarted during its trial"
        elif not trial.tries_left:
            reason = f"{TRIES} starts, none of them healthy" + (f": {report}" if report else "")
        elif not self._whole(trial.release):
            reason = "its folder is missing"
        else:
            left = trial.tries_left - 1
            return replace(state, trial=Trial(trial.release, left, self._boot_id)), (
                f"starting {trial.release} on trial, {left} more starts allowed"
            )
        if state.good is None or not self._whole(state.good):
            again = Trial(trial.release, TRIES - 1, self._boot_id)
            return replace(state, trial=again), f"{trial.release}: {reason}; there is no previous release"
        failed = Failure(trial.release, reason)
        return replace(state, trial=None, failed=failed), f"{trial.release}: {reason}; rolling back to {state.good}"

    def _switch_config(self, state: State, chosen: str) -> None:
        """Put the configuration of the chosen release into use. Raises OSError."""
        running = self._running()
        if running != chosen:
            here, there = self._schema(running), self._schema(chosen)
            if here is not None and there is not None:
                configuration.exchange(self._config, here, there)
        configuration.clean_up(self._config, state)
        if state.trial:
            configuration.apply_offered(self._config, chosen)

    def _write(self, state: State) -> None:
        states.write(self._state_file, state)


def _read(config: Path) -> bytes:
    try:
        data = durable.read_file(config, _MAX_CONFIG)
    except OSError as exc:
        raise UpdateError(f"{config}: cannot be read: {exc.strerror}") from exc
    if not data:
        raise UpdateError(f"{config}: found an empty file; expected a configuration")
    return data


def _open(path: Path) -> BinaryIO:
    try:
        return durable.open_file(path, bundle.MAX_BUNDLE)
    except OSError as exc:
        raise UpdateError(f"cannot be read: {exc.strerror}") from exc
