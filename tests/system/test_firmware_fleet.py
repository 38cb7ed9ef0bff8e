"""A rollout to simulated cameras with the real updater: a bad canary, a power cut in the middle, a full disk.

20 cameras; 100 of them are marked `long`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.firmware.device import FIRMWARE  # makes the updater importable
from tests.system.simulated_fleet import FAILS, HEALTHY, Fleet

assert FIRMWARE
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mount namespaces, chroot"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare: the Debian package util-linux"),
]


@pytest.fixture(scope="module", params=[20, pytest.param(100, marks=pytest.mark.long)])
def fleet(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no mount namespaces here")
    fleet = Fleet(folder, request.param)
    yield fleet
    fleet.kill()


def outcomes(fleet):
    report = json.loads(fleet.inventory.with_suffix(".report.json").read_text())
    return report["result"], [entry["outcome"] for entry in report["cameras"].values()]


def running(fleet, name):
    state = fleet.slots(name).state()
    assert state.trial is None
    return state.good.partition("-")[0]


def test_a_bad_canary_halts_the_rollout_at_one(fleet):
    bad = fleet.bundle("2.0", FAILS)
    began = time.monotonic()
    done = fleet.deploy(bad)
    assert done.returncode == 3, done.stdout + done.stderr
    print(f"{len(fleet.names)} cameras: halted at the canary after {time.monotonic() - began:.0f} s")
    assert outcomes(fleet) == ("halted", ["rolled_back"] + ["waiting"] * (len(fleet.names) - 1))
    assert "golden vectors differ" in done.stdout
    assert {running(fleet, name) for name in fleet.names} == {"1.0"}
    again = fleet.deploy(bad)
    assert again.returncode == 2
    assert again.stderr.startswith("deploy.sh: this release has failed on 1 cameras (cam-000: ")


def test_after_a_power_cut_in_the_middle_all_are_whole_and_the_same_command_completes(fleet):
    good = fleet.bundle("3.0", HEALTHY)
    process = subprocess.Popen(
        fleet.command(good), env=fleet.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    kept = 0
    for line in process.stdout:
        kept += ": kept after" in line
        if kept == len(fleet.names) // 2:
            break
    killed = fleet.kill()
    process.communicate()
    found = {
        path.name for name in fleet.names for path in (fleet.folder / name).glob("userdata/edge-app/releases/*.0-*")
    }
    whole = {name for name in found if not name.endswith(".tmp")}
    problems = []
    for name in fleet.names:
        fleet.restart(name)
        if problem := fleet.problem(name, whole):
            problems.append(problem)
    chosen = [fleet.slots(name).state().chosen.partition("-")[0] for name in fleet.names]
    print(f"power cut: {killed} processes killed; then {chosen.count('3.0')} run 3.0, {chosen.count('1.0')} 1.0")
    assert not problems
    assert {"1.0", "3.0"} == {*chosen}
    done = fleet.deploy(good)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kept after") <= len(fleet.names) - kept + 4  # the first half is not updated again
    assert outcomes(fleet) == ("complete", ["kept"] * len(fleet.names))
    assert {running(fleet, name) for name in fleet.names} == {"3.0"}


@pytest.mark.long
def test_a_camera_with_a_full_disk_keeps_its_release_and_halts_the_rollout(fleet):
    full = fleet.names[0]
    data = fleet.folder / full / "userdata"
    moved = fleet.folder / "moved"
    shutil.copytree(data, moved, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", data], check=True)
    try:
        shutil.copytree(moved, data, symlinks=True, dirs_exist_ok=True)
        done = fleet.deploy(fleet.bundle("4.0", HEALTHY))
        assert done.returncode == 3, done.stdout + done.stderr
        assert "rejected" in done.stdout
        assert "free in" in done.stdout or "No space left" in done.stdout
        assert running(fleet, full) == "3.0"
        assert fleet.problem(full, {fleet.slots(full).state().good}) is None
    finally:
        fleet.kill()
        subprocess.run(["umount", "-l", data], check=True)
    assert {*outcomes(fleet)[1][1:]} <= {"waiting", "unreachable"}
    assert {running(fleet, name) for name in fleet.names} == {"3.0"}
