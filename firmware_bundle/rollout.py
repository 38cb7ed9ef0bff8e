"""Roll releases out to cameras: canaries, then batches; stop at the first failures.

Each camera is updated by deploy.sh. Not here: the command line, building releases (fleet.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_report import Entry, Outcome, Report
from text import one_line

if TYPE_CHECKING:
    from inventory import Camera

PROJECT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 900.0  # of one camera; the updater decides within 30 s
_PROBES = 16  # at the same time
_PROBE_S = 120.0
_SSH = "-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=6"
_CODES: dict[int, Outcome] = {0: "kept", 2: "rejected", 3: "rolled_back"}


class FleetError(Exception):
    """Nothing was deployed: one line, or one a camera, with what was found and what was expected."""


@dataclass(frozen=True)
class Job:
    """One camera to be updated. board: the name in bundles. python: its version there."""

    camera: Camera
    board: str
    python: str
    release: Path = Path()
    name: str = ""


class Rollout:
    """The updates of one run. deploy: updates a camera, and returns exit code and output."""

    def __init__(self, report: Report, halt_on: int, parallel: int, deploy: Callable[[Job], tuple[int, str]]) -> None:
        self._report, self._halt_on, self._parallel, self._deploy = report, halt_on, parallel, deploy
        self._interrupted = False

    def run(self, jobs: Sequence[Job], canaries: int, batch: int) -> bool:
        """Update the canaries, then one batch after the other. Returns whether it came to the end."""
        stages = [("canary", jobs[:canaries])] if canaries else []
        rest = jobs[canaries:]
        stages += [(f"batch {i // batch + 1}", rest[i : i + batch]) for i in range(0, len(rest), batch)]
        for stage, members in stages:
            with ThreadPoolExecutor(self._parallel) as pool:
                try:
                    list(pool.map(self._update, members, [stage] * len(members)))
                except KeyboardInterrupt:  # cameras that are being updated finish
                    self._interrupted = True
                    raise
            failed = {job.camera.name for job in members}.intersection(self._report.failures())
            if self._halted() or (stage == "canary" and failed):
                return False
        return True

    def _halted(self) -> bool:
        return len(self._report.failures()) >= self._halt_on

    def _update(self, job: Job, stage: str) -> None:
        if self._halted() or self._interrupted:
            return
        began = time.monotonic()
        name, config = job.camera.name, job.camera.config_sha256()
        self._report.set(name, Entry("running", job.name, config))
        code, said = self._deploy(job)
        outcome = _CODES.get(code, "lost")
        lines = [line for line in said.splitlines() if line.strip()] or [f"deploy.sh ended with code {code}"]
        reason = "" if outcome == "kept" else one_line(lines[-1])
        seconds = round(time.monotonic() - began, 1)
        self._report.set(name, Entry(outcome, job.name, config, reason, seconds))
        say(f"{stage}: {name}: {outcome.replace('_', ' ')} after {seconds:.0f} s{reason and ': '}{reason}")


def probe(camera: Camera) -> tuple[str, str]:
    """Board and Python version of a camera. Raises FleetError if it cannot be reached or cannot run releases."""
    board = ["--board", camera.board] if camera.board else []
    code, said = _call(["--probe", *board, "--port", str(camera.port), camera.target], _PROBE_S)
    found = said.strip().splitlines()[-1:] or [""]
    words = found[0].split()
    if code or len(words) != 2:
        raise FleetError(one_line(found[0]) or f"{camera.target}: no answer")
    return words[0], words[1]


def plan(cameras: Sequence[Camera], allowed: int, report: Report) -> list[Job]:
    """Probe all cameras. Raises FleetError if more than `allowed` cannot be updated; a line for each of them."""
    jobs: list[Job] = []
    away: dict[str, str] = {}
    with ThreadPoolExecutor(_PROBES) as pool:
        for camera, found in zip(cameras, pool.map(_probed, cameras)):
            if isinstance(found, FleetError):
                away[camera.name] = str(found)
            else:
                jobs.append(Job(camera, *found))
    for name, reason in away.items():
        say(f"{name}: unreachable: {reason}")
        report.cameras[name] = Entry("unreachable", reason=reason)
    if len(away) > allowed:
        text = f"{len(away)} of {len(cameras)} cameras cannot be reached; expected at most {allowed} (--unreachable)"
        raise FleetError(f"{text}; nothing was deployed")
    return jobs


def deployer(key: Path) -> Callable[[Job], tuple[int, str]]:
    def deploy(job: Job) -> tuple[int, str]:
        camera = job.camera
        config = ["--config", str(camera.config)] if camera.config else []
        command = ["--board", job.board, "--release", str(job.release), "--key", str(key), *config]
        return _call([*command, "--port", str(camera.port), camera.target], TIMEOUT_S)

    return deploy


def _call(arguments: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Run deploy.sh for one camera, in a process group that no Ctrl-C reaches. Returns exit code and output."""
    options = f"{os.environ.get('EDGE_APP_SSH_OPTIONS', '')} {_SSH}".strip()
    environment = os.environ | {"EDGE_APP_SSH_OPTIONS": options, "PYTHON": sys.executable}
    process = subprocess.Popen(
        [str(PROJECT / "deploy.sh"), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return 255, f"{said}\nno verdict within {timeout_s:.0f} s"
    return process.returncode, said


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def _probed(camera: Camera) -> tuple[str, str] | FleetError:
    try:
        return probe(camera)
    except FleetError as exc:
        return exc
