#!/usr/bin/env python3
"""Roll a release out to a fleet: canaries, then batches; stop at the first failures. `deploy.sh --inventory` runs this.

    ./deploy.sh --inventory cameras.yaml --canary 1 --batch 10% --halt-on 1

Each camera is updated by deploy.sh, and decides itself whether it keeps the release. The same command resumes: cameras
that keep this release with this configuration are skipped. Not here: reading the inventory (inventory.py), the report
(rollout_report.py).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inventory import Camera

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
sys.path[:0] = [str(HERE), str(HERE / "updater")]

import build  # noqa: E402
import bundle  # noqa: E402
import libraries  # noqa: E402
from rollout import FleetError, Job, Rollout, deployer, plan, say  # noqa: E402
from rollout_report import Entry, Report  # noqa: E402
from text import one_line  # noqa: E402


@dataclass(frozen=True)
class Share:
    """`10%` of the cameras, or a number of them."""

    text: str

    def of(self, total: int) -> int:
        if self.text.endswith("%"):
            return total * int(self.text[:-1]) // 100
        return int(self.text)


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 all cameras keep the release, 2 nothing was deployed, 3 halted, or some do not keep it."""
    arguments = _arguments(argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        say("interrupted; the same command resumes")
        return 130
    except (FleetError, build.BuildError, libraries.ConfigurationError, bundle.UpdateError, OSError) as exc:
        print(f"deploy.sh: {exc}", file=sys.stderr)
    except ValueError as exc:
        print(f"deploy.sh: {one_line(str(exc))}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace) -> int:
    cameras = _inventory(arguments.inventory)
    report = Report(arguments.report or arguments.inventory.with_suffix(".report.json"))
    report.keep([camera.name for camera in cameras])
    with arguments.inventory.open("rb") as file, tempfile.TemporaryDirectory() as work:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FleetError(f"{arguments.inventory}: another rollout uses it; expected one at a time") from None
        try:
            jobs = plan(cameras, arguments.unreachable.of(len(cameras)), report)
        except FleetError:
            report.close("nothing deployed")
            raise
        jobs = _with_releases(jobs, arguments, Path(work))
        todo, kept = _remaining(jobs, report, arguments.retry)
        known = report.failures()
        if len(known) >= arguments.halt_on:
            first = f"{known[0]}: {report.cameras[known[0]].reason}"
            raise FleetError(
                f"this release has failed on {len(known)} cameras ({first}); expected another one, or --retry"
            )
        for name in sorted({f"{job.board} {job.name}" for job in jobs}):
            say(f"release: {name}")
        rollout = Rollout(report, arguments.halt_on, arguments.parallel, deployer(arguments.key))
        batch = max(arguments.batch.of(len(cameras)), 1)
        done = rollout.run(todo, max(arguments.canary - kept, 0), batch)
    complete = done and all(entry.outcome == "kept" for entry in report.cameras.values())
    report.close("complete" if complete else "incomplete" if done else "halted")
    say(f"{'halted: ' if not done else ''}{report.summary()}; report: {report.path}")
    return 0 if complete else 3


def _remaining(jobs: Sequence[Job], report: Report, retry: bool) -> tuple[list[Job], int]:
    """The jobs to be done, and the number of cameras that keep their release already."""
    todo, kept = [], 0
    for job in jobs:
        entry = report.cameras[job.camera.name]
        same = entry.settles(job.name, job.camera.config_sha256())
        if same and entry.outcome == "kept":
            kept += 1
        elif same and entry.outcome in ("rolled_back", "rejected") and not retry:
            continue  # counts as a failure of this release
        else:
            report.cameras[job.camera.name] = Entry()
            todo.append(job)
    return todo, kept


def _with_releases(jobs: Iterable[Job], arguments: argparse.Namespace, work: Path) -> list[Job]:
    """Build a release for each board, model and, if it has wheels, Python version; or take the one that is given."""
    built: dict[tuple[str, ...], Path] = {}
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        python = "" if arguments.no_wheels or arguments.wheels else job.python
        groups.setdefault((job.board, python, str(job.camera.model)), []).append(job)
    done = []
    for number, (group, members) in enumerate(groups.items()):
        built[group] = arguments.release or _build(work / f"{number}", group, members, arguments)
        name = build.manifest_of(built[group].read_bytes())
        if name.board != group[0]:
            raise FleetError(f"{built[group]}: made for {name.board}; {members[0].camera.name} is {group[0]}")
        done += [Job(job.camera, job.board, job.python, built[group], name.release) for job in members]
    order = {job.camera.name: i for i, job in enumerate(jobs)}
    return sorted(done, key=lambda job: order[job.camera.name])


def _build(work: Path, group: tuple[str, ...], members: Sequence[Job], arguments: argparse.Namespace) -> Path:
    board, python, model = group
    configs = sorted({job.camera.config for job in members if job.camera.config is not None})
    _, properties = build.find_board(board)
    wheels: Path | None = arguments.wheels
    if python:
        wheels = work.with_suffix(".wheels")
        build.fetch_wheels(properties, python, wheels, configs)
    command = ["bundle", "--board", board, "--model", model, "--key", str(arguments.key)]
    command += ["--out", str(work.with_suffix(".bundle"))]
    command += [word for path in configs for word in ("--camera-config", str(path))]
    command += ["--wheels", str(wheels)] if wheels else []
    command += ["--version", arguments.version] if arguments.version else []
    if build.main(command):
        raise FleetError("no release was built; nothing was deployed")
    return work.with_suffix(".bundle")


def _inventory(path: Path) -> list[Camera]:
    try:
        import inventory
    except ImportError:
        raise FleetError("the library yaml is missing; expected the Debian package python3-yaml") from None
    from edge_app.errors import ConfigError

    try:
        cameras = inventory.read(path)
    except ConfigError as exc:
        raise FleetError(str(exc)) from None
    for name in {camera.board for camera in cameras if camera.board}:
        build.find_board(name)  # raises BuildError
    return cameras


def _share(text: str) -> Share:
    if not re.fullmatch(r"\d{1,6}|(100|\d{1,2})%", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a number of cameras, or a share such as 10%")
    return Share(text)


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a number from 1 on")
    return int(text)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '/root')}/.config"
    parser = argparse.ArgumentParser(prog="deploy.sh", description="Roll a release out to the cameras of an inventory.")
    parser.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="firmware_bundle/inventory.py")
    parser.add_argument("--canary", type=int, default=1, metavar="N", help="cameras that are updated first, default: 1")
    parser.add_argument("--batch", type=_share, default=Share("10%"), metavar="N|P%%", help="default: 10%%")
    parser.add_argument("--halt-on", type=_positive, default=1, metavar="N", help="failures that stop it, default: 1")
    parser.add_argument(
        "--unreachable", type=_share, default=Share("10%"), metavar="N|P%%",
        help="deploy nothing if more cameras than this cannot be reached, default: 10%%",
    )  # fmt: skip
    parser.add_argument("--parallel", type=_positive, default=8, metavar="N", help="cameras at once, default: 8")
    parser.add_argument("--retry", action="store_true", help="also cameras that this release has failed on")
    parser.add_argument("--report", type=Path, metavar="FILE", help="default: the inventory's name with .report.json")
    parser.add_argument("--release", type=Path, metavar="FILE", help="a bundle; default: built for each board")
    parser.add_argument("--key", type=Path, default=Path(home) / "edge-app/signing.pem", metavar="FILE")
    parser.add_argument("--wheels", type=Path, metavar="DIR")
    parser.add_argument("--no-wheels", action="store_true")
    parser.add_argument("--version", metavar="V")
    arguments = parser.parse_args(argv)
    if not arguments.key.is_file():
        parser.error(
            f"--key {arguments.key}: no such file; expected the key of the cameras, as `build.py key` makes one"
        )
    if arguments.release is not None and not arguments.release.is_file():
        parser.error(f"--release {arguments.release}: no such file")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
