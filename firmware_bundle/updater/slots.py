#!/usr/bin/env python3
"""Which release a camera runs: install, try, keep, take back.

    ROOT/device.json      what this device is: board, and the folders that `wipe` empties
    ROOT/keys/*.pem       the public keys whose bundles are taken
    ROOT/releases/NAME/   a release, whole: its name appears only when everything in it is on the disk
    ROOT/state.json       what is good, what is on trial and what has failed: written at once, the only commitment
    ROOT/current          link to the release that the last start chose: only `boot` turns it, so that no running
                          program finds another release's files under its feet, and none runs uncounted
    ROOT/config/          the device's own configuration; no release holds or removes it (configuration.py)
    ROOT/updater          link to this folder, which `adopt` exchanges as a whole

A new release is on trial until its health file says that the camera sees (trial.py). Standard library and the `openssl`
program only, nothing of edge_app: the updater must not depend on what it replaces. Python 3.10 or newer.
Here: the command. Not here: what it does (releases.py, device.py, trial.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import device
import trial as trials
from bundle import Refused
from releases import Slots


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 refused with one line on stderr, 3 a release that is not kept."""
    parser = argparse.ArgumentParser(prog="slots.py", description="Install a release, try it, keep it or take it back.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="default: above this")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    install = commands.add_parser("install", help="verify a bundle, and try it at the next start")
    install.add_argument("bundle", type=Path)
    install.add_argument("--config", type=Path, metavar="FILE", help="the device's own, tried with it")
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
    os.umask(0o022)  # the program of the camera is not root, and must be able to read what this writes
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        return _run(arguments, Slots(arguments.root, boot_id))
    except (Refused, OSError) as exc:
        where = f"{arguments.bundle}: " if arguments.command == "install" else ""
        print(f"{where}{exc}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, slots: Slots) -> int:
    if arguments.command == "install":
        print(slots.install(arguments.bundle, arguments.config)[1])
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
        device.adopt(arguments.root, Path(__file__).resolve().parent)
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
        for path, size in (removed := device.wipe(arguments.root)):
            print(f"removed {path} ({size:,} bytes)")
        print(f"{len(removed)} files, {sum(size for _, size in removed):,} bytes removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
