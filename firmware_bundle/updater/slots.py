#!/usr/bin/env python3
"""Which release a camera runs: install, try, keep, take back.

    ROOT/device.json      what this device is: board, and the folders that `wipe` empties
    ROOT/keys/*.pem       the public keys whose bundles are taken
    ROOT/releases/NAME/   a release, whole: its name appears only when everything in it is on the disk
    ROOT/state.json       what is good, what is on trial and what has failed: written at once, the only commitment
    ROOT/current          link to the release that the last start chose: only `boot` turns it, so that no running
                          program finds another release's files under its feet, and none runs uncounted
    ROOT/config/          the device's own configuration; no release holds or removes it

A new release is on trial until its health file says that the camera sees (trial.py). Standard library and the `openssl`
program only, nothing of edge_app: the updater must not depend on what it replaces. Python 3.10 or newer.
Not here: the bundle's format (bundle.py), whether a camera is healthy (the release's own health file says it).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

import bundle
import durable
import state as states
import trial as trials
from bundle import Manifest, Refused
from state import TRIES, Device, Failure, State, Trial

SPARE_BYTES = 1 << 20
CONFIG = "config.yaml"


class Slots:
    """The releases of one device. Each command locks out a second updater.

    spare_bytes: left free beside a new release.
    """

    def __init__(self, root: Path, boot_id: str, spare_bytes: int = SPARE_BYTES) -> None:
        self.root = root
        self._spare_bytes = spare_bytes
        self._boot_id = boot_id
        self._state_file = root / "state.json"
        self._link = root / "current"

    def state(self) -> State:
        """What state.json says; where it cannot be read, what `current` points to counts as good."""
        try:
            return states.read(self._state_file)
        except FileNotFoundError:
            reason = ""
        except ValueError as exc:
            reason = str(exc)
        running = self._running()
        good = running if self._whole(running) else None
        return State(good=good, failed=Failure(running, reason) if reason else None)

    def install(self, file: Path) -> tuple[str, str]:
        """Verify a bundle and put it on trial from the next start on.

        Returns the release's name, and a line to print. Raises Refused; then nothing has changed.
        """
        with _locked(self.root), _opened(file) as opened:
            state, device = self.state(), self._device()
            found = bundle.open_signed(opened, sorted((self.root / "keys").glob("*.pem")))
            self._check_fits(found.manifest, device, state)
            release = found.manifest.release
            bundle.verify_payload(found)
            if release == state.good:
                self._write(replace(state, trial=None))
                return release, f"{release} is installed, and good"
            self._make_room(found.manifest, state)
            if not self._whole(release):
                self._unpack(found)
            self._write(replace(state, trial=Trial(release), failed=None))
            return release, f"{release} will be tried at the next start"

    def boot(self, report: str = "") -> tuple[str, str]:
        """Choose the release of this start, and count it where it is on trial.

        report: what the last start said of its health, for the reason of a failure. Returns the release's name, and a
        line for the log. Raises Refused where there is none.
        """
        try:
            with _locked(self.root):
                return self._choose(report)
        except OSError as exc:  # the disk is full or read-only: a camera that sees is worth more than the count
            running = self._running()
            if not self._whole(running):
                raise
            return running, f"{exc}; starting {running} all the same"

    def mark_good(self) -> str:
        """Keep the release that is on trial. Raises Refused where none is."""
        with _locked(self.root):
            state = self.state()
            if state.trial is None or state.trial.boot_id is None:
                raise Refused("no started release is on trial; expected one")
            release = state.trial.release
            previous = state.good if state.good != release else state.previous
            self._write(State(good=release, previous=previous))
            return release

    def rollback(self, reason: str) -> str | None:
        """Go back, from the next start on: end a trial, else exchange good and previous.

        Returns the release that will run; None where there is none to go back to, and nothing was changed.
        """
        with _locked(self.root):
            state = self.state()
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

    def adopt(self, source: Path) -> None:
        """Take the updater in `source` as this device's own, all of it at once: ROOT/updater is a link."""
        with _locked(self.root):
            files = {path.name: path.read_bytes() for path in sorted(source.glob("*.py"))}
            digest = hashlib.sha256(b"".join(name.encode() + data for name, data in files.items())).hexdigest()
            own = self.root / f"updater-{digest[:12]}"
            if not own.exists():
                staging = own.with_name(own.name + durable.UNFINISHED)
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                for name, data in files.items():
                    durable.write_new(staging / name, [data], 0o755)
                durable.sync_folder(staging)
                staging.rename(own)
            durable.point(self.root / "updater", own.name)
            for other in self.root.glob("updater-*"):
                if other != own:
                    durable.remove_tree(other)

    def wipe(self) -> list[tuple[Path, int]]:
        """Remove what is the owner's: queue, snapshots, credentials, own configuration. Returns files and sizes."""
        removed: list[tuple[Path, int]] = []
        with _locked(self.root):
            for folder in (*map(Path, self._device().wipe), self.root / "config"):
                removed += _empty(folder)
        return removed

    def _choose(self, report: str) -> tuple[str, str]:
        state, told = self.state(), ""
        if state.trial:
            state, told = self._count_start(state, state.trial, report)
            self._write(state)
        chosen = state.chosen
        if chosen is None or not self._whole(chosen):
            raise Refused(f"{self.root}: no release is installed; expected `install BUNDLE` first")
        if self._running() != chosen:
            self._exchange_config(self._running(), chosen)
            durable.point(self._link, f"releases/{chosen}")
        return chosen, told or f"starting {chosen}"

    def _device(self) -> Device:
        return states.read_device(self.root / "device.json")

    def _running(self) -> str:
        """The release that the last start chose; empty before the first one."""
        return self._link.readlink().name if self._link.is_symlink() else ""

    def _whole(self, release: str) -> bool:
        named = release and "/" not in release and not release.endswith(durable.UNFINISHED)
        return bool(named) and (self.root / "releases" / release / bundle.MANIFEST).is_file()

    def _manifest(self, release: str) -> Manifest | None:
        if not self._whole(release):
            return None
        return bundle.parse((self.root / "releases" / release / bundle.MANIFEST).read_bytes())

    def _check_fits(self, manifest: Manifest, device: Device, state: State) -> None:
        """Raises Refused for another board, an older version, or one that cannot follow what is here."""
        if manifest.board != device.board:
            raise Refused(f"made for the board {manifest.board}; this device is {device.board}")
        good = self._manifest(state.good or "")
        if good is None:
            return
        here, new = bundle.version_key(good.version), bundle.version_key(manifest.version)
        if new < here and not manifest.allow_older:
            raise Refused(f"version {manifest.version} is older than {good.version}; expected one as new")
        if here < bundle.version_key(manifest.minimum_version):
            raise Refused(f"needs at least version {manifest.minimum_version} here; found {good.version}")

    def _make_room(self, manifest: Manifest, state: State) -> None:
        """Remove what no start can choose any more. Raises Refused where the release still does not fit."""
        releases = self.root / "releases"
        durable.make_folders(releases)
        running = self._running()  # its program may still be reading from it
        for folder in sorted(releases.iterdir()):
            if folder.name not in (state.good, running, manifest.release):
                if state.trial and folder.name == state.trial.release:
                    self._write(replace(state, trial=None))
                durable.remove_tree(folder)
        free = os.statvfs(releases)
        room = free.f_bavail * free.f_frsize - self._spare_bytes
        if manifest.unpacked_bytes > room and not self._whole(manifest.release):
            raise Refused(f"needs {manifest.unpacked_bytes:,} bytes; found {max(room, 0):,} free in {releases}")

    def _unpack(self, found: bundle.Bundle) -> None:
        folder = self.root / "releases" / found.manifest.release
        staging = folder.with_name(folder.name + durable.UNFINISHED)
        try:
            bundle.unpack(found, staging)
        except (OSError, Refused) as exc:
            shutil.rmtree(staging, ignore_errors=True)
            raise Refused(f"{staging}: {exc}") from exc
        staging.rename(folder)
        durable.sync_folder(folder.parent)

    def _count_start(self, state: State, trial: Trial, report: str) -> tuple[State, str]:
        """The state after one more start of a release on trial, and what to log."""
        if trial.boot_id not in (None, self._boot_id):
            reason = "the camera restarted while it was on trial"
        elif not trial.tries_left:
            reason = f"{TRIES} starts, and none of them healthy" + (f": {report}" if report else "")
        elif not self._whole(trial.release):
            reason = "its folder is not there"
        else:
            left = trial.tries_left - 1
            return replace(state, trial=Trial(trial.release, left, self._boot_id)), (
                f"starting {trial.release} on trial, {left} more starts allowed"
            )
        if state.good is None or not self._whole(state.good):
            again = Trial(trial.release, TRIES - 1, self._boot_id)
            return replace(state, trial=again), f"{trial.release}: {reason}; there is none to go back to"
        failed = Failure(trial.release, reason)
        return replace(state, trial=None, failed=failed), f"{trial.release}: {reason}; going back to {state.good}"

    def _exchange_config(self, old: str, new: str) -> None:
        """Where the configuration's schema differs: keep the present one, and going back take out the older one.

        A newer release reads or migrates an older configuration itself. Interrupted, it may be done again.
        """
        before, after = self._manifest(old), self._manifest(new)
        config = self.root / "config" / CONFIG
        if before is None or after is None or not config.is_file():
            return
        here, there = before.schemas.get("config", 1), after.schemas.get("config", 1)
        kept = config.with_name(f"{CONFIG}.schema-{there}")
        data = config.read_bytes()
        if here == there or (there < here and kept.is_file() and kept.read_bytes() == data):
            return
        mode = stat.S_IMODE(config.stat().st_mode)
        durable.replace(config.with_name(f"{CONFIG}.schema-{here}"), data, mode)
        if there < here and kept.is_file():
            durable.replace(config, kept.read_bytes(), mode)

    def _write(self, state: State) -> None:
        states.write(self._state_file, state)


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


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise Refused(f"cannot be read: {exc}") from exc


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 refused with one line on stderr, 3 a release that is not kept."""
    parser = argparse.ArgumentParser(prog="slots.py", description="Install a release, try it, keep it or take it back.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="default: above this")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("install", help="verify a bundle, and try it at the next start").add_argument(
        "bundle", type=Path
    )
    commands.add_parser("status", help="print the state as JSON")
    boot = commands.add_parser("boot", help="choose the release of this start; called before each")
    boot.add_argument("--health", type=Path, metavar="FILE", help="the last start's health file, to be taken away")
    commands.add_parser("mark-good", help="keep the release that is on trial")
    back = commands.add_parser("rollback", help="run the previous release from the next start on")
    back.add_argument("--reason", default="asked for")
    follow = commands.add_parser("trial", help="follow a health file; keep the release or take it back")
    follow.add_argument("health", type=Path)
    follow.add_argument("--pid", type=int, metavar="N", help="of the release's program; where it ends, so does this")
    follow.add_argument("--timeout", type=float, default=trials.TRIAL_S, metavar="S")
    verdict = commands.add_parser("follow", help="wait for the verdict on a release; exit 0 when it is kept")
    verdict.add_argument("release")
    verdict.add_argument("--timeout", type=float, default=120.0, metavar="S")
    commands.add_parser("adopt", help="make this updater the device's own")
    commands.add_parser("wipe", help="remove queue, snapshots, credentials and own configuration")
    arguments = parser.parse_args(argv)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        return _run(arguments, Slots(arguments.root, boot_id))
    except (Refused, OSError) as exc:
        where = f"{arguments.bundle}: " if arguments.command == "install" else ""
        print(f"{where}{exc}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, slots: Slots) -> int:
    if arguments.command == "install":
        print(slots.install(arguments.bundle)[1])
    elif arguments.command == "status":
        state = slots.state()
        print(json.dumps({**asdict(state), "chosen": state.chosen}))
    elif arguments.command == "boot":
        report = trials.read_health(arguments.health) if arguments.health else None
        if arguments.health:
            arguments.health.unlink(missing_ok=True)
        print(slots.boot(report[1] if report else "")[1])
    elif arguments.command == "mark-good":
        print(f"{slots.mark_good()} is kept")
    elif arguments.command == "rollback":
        release = slots.rollback(arguments.reason)
        if release is None:
            raise Refused("there is no release to go back to")
        print(f"{release} will run from the next start on")
    elif arguments.command == "adopt":
        slots.adopt(Path(__file__).resolve().parent)
    elif arguments.command == "follow":
        kept, told = trials.verdict(slots, arguments.release, arguments.timeout, time.monotonic, time.sleep)
        print(told)
        return 0 if kept else 3
    elif arguments.command == "trial":
        fine, told = trials.follow(
            slots, arguments.health, arguments.timeout, time.monotonic, time.sleep, pid=arguments.pid
        )
        print(told or "nothing is on trial")
        return 0 if fine else 3
    else:
        for path, size in (removed := slots.wipe()):
            print(f"removed {path} ({size:,} bytes)")
        print(f"{len(removed)} files, {sum(size for _, size in removed):,} bytes removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
