"""The service files: systemd rates the sandbox, shellcheck the scripts."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE

SCRIPTS = [
    PROJECT / "deploy.sh", FIRMWARE / "setup.sh", FIRMWARE / "image.sh", FIRMWARE / "S99edge-app",
    FIRMWARE / "rootfs.sh", FIRMWARE / "rootfs/usr/lib/camera/data", FIRMWARE / "rootfs/usr/lib/camera/seed",
    FIRMWARE / "release/start", FIRMWARE / "release/edge-app",
]  # fmt: skip


def test_systemd_rates_the_exposure_of_the_unit_below_2():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", FIRMWARE / "edge-app.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable(script):
    assert script.stat().st_mode & 0o111 or script.name in ("setup.sh", "image.sh")
    assert script.read_text().startswith("#!/bin/sh\n")
