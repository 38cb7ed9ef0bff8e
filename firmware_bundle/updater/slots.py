#!/usr/bin/env python3
"""Manage the releases of a camera: install, try, keep, roll back.

    ROOT/device.json      what this device is: board, and the folders that `wipe` empties
    ROOT/keys/*.pem       the trusted public keys
    ROOT/releases/NAME/   a complete release: the name appears after everything in it is on the disk
    ROOT/state.json       the good release, the one on trial, the last failure; replaced atomically
    ROOT/current          link to the release that the last start chose; only `boot` changes it, so that the files of
                          a running program stay, and every start is counted
    ROOT/config/          the device's own configuration, independent of releases (configuration.py)
    ROOT/updater          link to this folder; `adopt` replaces it atomically

A new release is on trial until its health file reports that it delivers frames (trial.py). Needs Python 3.10, the
standard library and the `openssl` program; nothing of edge_app, since the updater must not depend on what it replaces.
Not here: what the commands do (releases.py, device.py, trial.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import device
import durable
import trial as trials
from bundle import UpdateError
from releases import Slots
from text import one_line

_MAX_LINE = 4200  # characters: a path and a description of the problem


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 rejected with one line on stderr, 3 rolled back."""
    parser = argparse.ArgumentParser(prog="slots.py", description="Install a release, try it, keep it or roll it back.")
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).resolve().parent.parent, help="default: the folder above this one"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    install = commands.add_parser("install", help="verify a bundle, and try it at the next start")
    install.add_argument("bundle", type=Path)
    install.add_argument(
        "--config", type=Path, metavar="FILE", help="the device's own configuration, rolled back with the release"
    )
    commands.add_parser("status", help="print the state as JSON")
    boot = commands.add_parser("boot", help="choose the release of this start; called before each start")
    boot.add_argument("--health", type=Path, metavar="FILE", help="health file of the last start; removed")
    commands.add_parser("mark-good", help="keep the release that is on trial")
    back = commands.add_parser("rollback", help="run the previous release from the next start on")
    back.add_argument("--reason", default="requested")
    follow = commands.add_parser("trial", help="follow a health file; keep the release or roll it back")
    follow.add_argument("health", type=Path)
    follow.add_argument("--pid", type=int, metavar="N", help="process of the release; the trial ends when it exits")
    follow.add_argument("--timeout", type=float, default=trials.TRIAL_S, metavar="S")
    verdict = commands.add_parser("follow", help="wait for the verdict on a release; exit 0 when it is kept")
    verdict.add_argument("release")
    verdict.add_argument("--timeout", type=float, default=120.0, metavar="S")
    commands.add_parser("adopt", help="install this updater on the device")
    commands.add_parser("wipe", help="remove queue, snapshots, credentials and own configuration")
    arguments = parser.parse_args(argv)
    os.umask(0o022)  # the daemon does not run as root and must read these files
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        return _run(arguments, Slots(arguments.root, boot_id))
    except (UpdateError, OSError) as exc:
        where = f"{arguments.bundle}: " if arguments.command == "install" else ""
        print(one_line(f"{where}{exc}", _MAX_LINE), file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, slots: Slots) -> int:
    if arguments.command == "install":
        print(slots.install(arguments.bundle, arguments.config)[1])
    elif arguments.command == "status":
        state = slots.state()
        print(json.dumps({**asdict(state), "chosen": state.chosen}))
    elif arguments.command == "boot":
        report = trials.read_health(arguments.health) if arguments.health else None
        if arguments.health:  # in a folder of the daemon: no file there may prevent a start
            with suppress(OSError):
                durable.discard(arguments.health)
        print(slots.boot(report[1] if report else "")[1])
    elif arguments.command == "mark-good":
        print(f"{slots.mark_good()} is kept")
    elif arguments.command == "rollback":
        release = slots.rollback(arguments.reason)
        if release is None:
            raise UpdateError("there is no previous release")
        print(f"{release} will run from the next start on")
    elif arguments.command == "adopt":
        device.adopt(arguments.root, Path(__file__).resolve().parent)
    elif arguments.command == "follow":
        kept, message = trials.verdict(slots, arguments.release, arguments.timeout, time.monotonic, time.sleep)
        print(message)
        return 0 if kept else 3
    elif arguments.command == "trial":
        healthy, message = trials.follow(
            slots, arguments.health, arguments.timeout, time.monotonic, time.sleep, pid=arguments.pid
        )
        print(message or "nothing is on trial")
        return 0 if healthy else 3
    else:
        for path, size in (removed := device.wipe(arguments.root)):
            print(one_line(f"removed {path} ({size:,} bytes)", _MAX_LINE))
        print(f"{len(removed)} files, {sum(size for _, size in removed):,} bytes removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
