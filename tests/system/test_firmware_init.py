"""The init script of boards without systemd: starts, runs the trial, restarts, and stops a daemon that hangs.

Nothing that the daemon leaves in the folder of its health file stops the script or a rollback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.firmware.device import FIRMWARE, Camera, make_keys

import build  # isort: skip  (found through tests.firmware.device)
import device  # isort: skip

pytestmark = pytest.mark.system

HEALTHY = """
n=0
while :; do
    n=$((n + 1))
    printf '{"verdict": "healthy", "reason": "", "writes": %s}' $n >"$EDGE_APP_HEALTH"
    sleep 0.2
done
"""
CRASHES = "exit 7\n"
SILENT = """
printf '{"verdict": "healthy", "reason": "", "writes": 1}' >"$EDGE_APP_HEALTH"
sleep 100
"""
STUBBORN = "trap '' TERM\n" + HEALTHY
WRITES = """
mkdir "$EDGE_APP_ROOT/data/snapshots"
echo x >"$EDGE_APP_ROOT/data/outbox.db"
"""
HOSTILE = {  # commands that make a wrong file at the path of the health file
    "FIFO": 'mkfifo "$EDGE_APP_HEALTH"',
    "folder": 'mkdir -p "$EDGE_APP_HEALTH/a/b"',
    "link": 'ln -s /dev/zero "$EDGE_APP_HEALTH"',
}
SHELLS = [name for name in ("busybox", "dash") if shutil.which(name)]  # the shell of such boards, and a similar one


class Board:
    """A camera in a folder with a running init script and short timeouts."""

    def __init__(self, folder, shell):
        self.camera = Camera(folder, make_keys(folder / "keys"))
        self.run = folder / "run"
        self.log = (folder / "log").open("w+")
        device.adopt(self.camera.root, FIRMWARE / "updater")
        self.script = [shutil.which(shell), *(["sh"] if shell == "busybox" else []), FIRMWARE / "S99edge-app"]
        self.environment = os.environ | {
            "EDGE_APP_ROOT": str(self.camera.root), "EDGE_APP_RUN": str(self.run), "EDGE_APP_PYTHON": sys.executable,
            "EDGE_APP_SILENT_S": "3",
        }  # fmt: skip
        self.process = None

    def install(self, version, body):
        text = f"#!/bin/sh\necho running {version}\n{body}"
        files = {"start": (text.encode(), True), "version": (version.encode(), False)}
        path = self.camera.write(build.pack(files, {"version": version, "board": "amd64"}, self.camera.keys["ours"]))
        return self.camera.slots.install(path)[0]

    def start(self, umask=-1):
        self.process = subprocess.Popen(
            [*self.script, "supervise"], env=self.environment, stdout=self.log, stderr=subprocess.STDOUT, umask=umask
        )

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(15) == 0
        self.log.close()

    def command(self, name):
        done = subprocess.run(
            [*self.script, name], env=self.environment, check=False, timeout=30, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def alive(self):
        """Whether a release writes its health file."""
        path = self.run / "health.json"
        before = path.read_text() if path.exists() else None
        time.sleep(0.6)
        return path.exists() and path.read_text() != before

    def said(self):
        return (self.camera.root.parent / "log").read_text()

    def wait(self, wanted, timeout_s=40.0):
        end = time.monotonic() + timeout_s
        while not wanted():
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)


@pytest.fixture(params=SHELLS[:1])
def board(request, tmp_path):
    board = Board(tmp_path, request.param)
    yield board
    board.stop()


def test_a_crashing_release_is_rolled_back(board):
    old = board.install("1.0", HEALTHY)
    board.start()
    board.wait(lambda: board.camera.slots.state().good == old)
    new = board.install("2.0", CRASHES)
    board.process.terminate()
    assert board.process.wait(15) == 0
    began = time.monotonic()
    board.start()
    board.wait(lambda: board.said().count("running 1.0") == 2)
    assert board.said().count("running 2.0") == 3
    assert time.monotonic() - began < 60
    assert board.camera.slots.state().failed.release == new


def test_a_release_with_an_unchanged_health_file_is_restarted(board):
    board.install("1.0", SILENT)
    board.start()
    board.wait(lambda: board.said().count("running 1.0") == 2)
    assert "health file unchanged for 3 s" in board.said()


@pytest.mark.parametrize("body", [HEALTHY, STUBBORN], ids=["at once", "when it must"])
def test_stop_stops_the_daemon_too(board, body):
    board.install("1.0", body)
    board.start()
    board.wait((board.run / "health.json").exists)
    board.command("stop")
    board.process.wait(10)
    assert not board.alive()


def test_start_status_restart_and_stop(board):
    release = board.install("1.0", HEALTHY)
    try:
        board.command("start")
        board.wait(lambda: board.camera.slots.state().good == release)
        said = board.command("status")
        assert "supervisor" in said
        assert release in said
        before = (board.run / "supervisor.pid").read_text()
        board.command("restart")
        board.wait(lambda: (board.run / "supervisor.pid").exists() and board.alive())
        assert (board.run / "supervisor.pid").read_text() != before
    finally:
        board.command("stop")
    assert not board.alive()
    assert "stopped" in board.command("status")


@pytest.mark.parametrize("board", SHELLS, indirect=True)
def test_only_the_owner_can_read_data_and_run_files_whatever_the_umask(board):
    board.install("1.0", WRITES + HEALTHY)
    root, run = board.camera.root, board.run
    (root / "data").mkdir()
    (root / "data").chmod(0o777)  # as an older setup.sh left it
    board.start(umask=0)
    board.wait(board.alive)
    paths = [root / "data", *(root / "data").iterdir(), run, *run.iterdir()]
    assert {path.name for path in paths} >= {"snapshots", "outbox.db", "health.json", "supervisor.pid"}
    modes = {path: path.stat().st_mode & 0o777 for path in paths}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in paths}
    assert (root / "state.json").stat().st_mode & 0o777 == 0o644  # the daemon reads it


@pytest.mark.parametrize("wrong", HOSTILE)
def test_a_release_that_blocks_its_health_file_is_rolled_back(board, wrong):
    old = board.install("1.0", HEALTHY)
    board.start()
    board.wait(lambda: board.camera.slots.state().good == old)
    board.process.terminate()
    assert board.process.wait(15) == 0
    new = board.install("2.0", f'rm -f "$EDGE_APP_HEALTH"; {HOSTILE[wrong]}; exec sleep 100\n')
    board.start()
    board.wait(lambda: (failed := board.camera.slots.state().failed) is not None and failed.release == new, 90)
    board.wait(board.alive)
    assert board.camera.slots.state().good == old


@pytest.mark.parametrize("wrong", HOSTILE)
def test_a_hostile_pid_file_keeps_nothing_from_starting(board, wrong):
    board.install("1.0", HEALTHY)
    board.run.mkdir()
    pid_file = board.run / "supervisor.pid"
    subprocess.run(["sh", "-c", HOSTILE[wrong]], env=os.environ | {"EDGE_APP_HEALTH": str(pid_file)}, check=True)
    assert "stopped" in board.command("status")
    board.start()
    board.wait(board.alive)
    assert f"supervisor {board.process.pid}" in board.command("status")
    for text in ("", "0", "1", "-1", "x", "9" * 99_999):
        pid_file.write_text(text)
        assert "stopped" in board.command("status")
