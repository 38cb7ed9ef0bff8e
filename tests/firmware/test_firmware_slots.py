"""A camera runs the complete old or new release; a new one is kept only if it delivers frames."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import bundle
import device
import slots
import trial
from bundle import UpdateError
from tests.firmware.device import current

SLOTS = Path(trial.__file__).with_name("slots.py")


def test_the_first_release_is_on_trial_and_then_good(camera):
    release, told = camera.slots.install(camera.bundle("1.0"))
    assert "next start" in told
    assert not (camera.root / "current").exists()
    assert camera.slots.boot() == (release, f"starting {release} on trial, 2 more starts allowed")
    assert current(camera) == release
    assert bundle.damage(camera.root / "current") is None
    camera.slots.mark_good()
    assert camera.slots.boot() == (release, f"starting {release}")


def test_a_running_release_keeps_its_files_until_the_next_start(camera):
    old = camera.run("1.0")
    camera.slots.install(camera.bundle("2.0"))
    assert current(camera) == old
    assert bundle.damage(camera.root / "releases" / old) is None


def test_rolls_back_after_three_starts_without_health(camera):
    old = camera.run("1.0")
    new, _ = camera.slots.install(camera.bundle("2.0"))
    assert [camera.slots.boot()[0] for _ in range(5)] == [new, new, new, old, old]
    state = camera.slots.state()
    assert state.failed.release == new
    assert "3 starts" in state.failed.reason


def test_a_reboot_during_the_trial_rolls_back(camera):
    old = camera.run("1.0")
    new, _ = camera.slots.install(camera.bundle("2.0"))
    camera.boot_id = "boot-2"  # a reboot before the first start does not count
    assert camera.slots.boot()[0] == new
    camera.boot_id = "boot-3"
    assert camera.slots.boot()[0] == old
    assert "restarted" in camera.slots.state().failed.reason


def test_a_reboot_after_the_trial_changes_nothing(camera):
    camera.run("1.0")
    new = camera.run("2.0")
    camera.boot_id = "boot-2"
    assert camera.slots.boot()[0] == new


def test_a_failing_first_release_keeps_running(camera):
    new, _ = camera.slots.install(camera.bundle("1.0"))
    assert [camera.slots.boot()[0] for _ in range(6)] == [new] * 6
    assert camera.slots.rollback("no frames") is None
    assert camera.slots.boot()[0] == new


def test_a_manual_rollback_returns_to_the_previous_release(camera):
    old, new = camera.run("1.0"), camera.run("2.0")
    assert camera.slots.rollback("asked for") == old
    assert current(camera) == new
    assert camera.slots.boot()[0] == old
    assert camera.slots.rollback("again") is None
    assert camera.slots.boot()[0] == old


def test_rollback_ends_a_trial(camera):
    old = camera.run("1.0")
    camera.slots.install(camera.bundle("2.0"))
    camera.slots.boot()
    assert camera.slots.rollback("golden vectors fail") == old
    assert camera.slots.boot()[0] == old
    assert camera.slots.state().failed.reason == "golden vectors fail"


def test_installing_the_good_release_again_puts_it_on_trial(camera):
    old = camera.run("1.0")
    camera.slots.install(camera.bundle("2.0"))
    camera.slots.install(camera.bundle("1.0"))
    assert camera.slots.boot()[0] == old
    assert camera.slots.state().trial.release == old
    assert camera.slots.rollback("no frames") == old
    assert camera.slots.state().failed.reason == "no frames"
    assert camera.slots.boot() == (old, f"starting {old}")


def test_removes_releases_that_no_start_can_choose(camera):
    for version in ("1.0", "2.0", "3.0", "4.0"):
        camera.run(version)
    names = sorted(path.name.split("-")[0] for path in (camera.root / "releases").iterdir())
    assert names == ["3.0", "4.0"]


def test_reinstalls_a_release_with_lost_files(camera):
    camera.run("1.0")
    new, _ = camera.slots.install(camera.bundle("2.0"))
    (camera.root / "releases" / new / "manifest.json").unlink()
    assert camera.slots.install(camera.bundle("2.0"))[0] == new
    assert camera.slots.boot()[0] == new
    assert bundle.damage(camera.root / "current") is None


def test_rejects_a_release_that_does_not_fit(camera):
    old = camera.run("1.0")
    full = slots.Slots(camera.root, "boot-1", spare_bytes=1 << 60)
    with pytest.raises(UpdateError, match=r"needs .* found 0 free"):
        full.install(camera.bundle("2.0"))
    assert current(camera) == old


def test_mark_good_needs_a_started_trial(camera):
    with pytest.raises(UpdateError, match="on trial"):
        camera.slots.mark_good()
    camera.slots.install(camera.bundle("1.0"))
    with pytest.raises(UpdateError, match="on trial"):
        camera.slots.mark_good()


def test_reports_that_no_release_is_installed(camera):
    with pytest.raises(UpdateError, match="install BUNDLE"):
        camera.slots.boot()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"good": 3}', '{"good": "../../etc"}', "null", "\0" * 400])
def test_an_unreadable_state_keeps_the_running_release(camera, text):
    release = camera.run("1.0")
    (camera.root / "state.json").write_text(text)
    assert camera.slots.boot()[0] == release


def test_an_unwritable_state_keeps_the_running_release(camera):
    old = camera.run("1.0")
    camera.slots.install(camera.bundle("2.0"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as a full disk: fails every write, also by root
    try:
        release, message = camera.slots.boot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert release == old
    assert "anyway" in message


def test_wipe_removes_the_data_of_the_owner_and_lists_it(camera):
    release = camera.run("1.0")
    outside = camera.root.parent / "outside"
    outside.write_text("stays")
    for path in (
        camera.data / "outbox.db",
        camera.data / "snapshots/1.jpg",
        camera.root / "credentials/mqtt",
        camera.root / "config/config.yaml",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    (camera.data / "link").symlink_to(outside)
    (camera.data / "snapshots/up").symlink_to("..")
    removed = {path.name for path, _ in device.wipe(camera.root)}
    assert removed >= {"outbox.db", "1.jpg", "mqtt", "config.yaml", "link"}
    assert not list(camera.data.iterdir())
    assert not list((camera.root / "credentials").iterdir())
    assert outside.read_text() == "stays"
    assert camera.slots.boot()[0] == release


@pytest.mark.parametrize("hostile", ["pipe", "link", "folder"])
def test_whatever_the_daemon_leaves_as_overrides_is_not_read_and_wiped(camera, hostile):
    camera.run("1.0")
    camera.data.mkdir(parents=True, exist_ok=True)
    overrides = camera.data / "overrides.yaml"
    outside = camera.root.parent / "outside"
    outside.write_text("stays")
    if hostile == "pipe":
        os.mkfifo(overrides)  # reading it would block
    elif hostile == "link":
        overrides.symlink_to(outside)
    else:
        overrides.mkdir()
    second = camera.run("2.0")
    assert camera.slots.boot()[0] == second
    device.wipe(camera.root)
    assert not os.path.lexists(overrides)
    assert outside.read_text() == "stays"


class TestTheCommand:
    """As a board runs it: with the standard library only."""

    def run(self, camera, *arguments):
        command = [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(SLOTS.parent)!r}); import slots; sys.exit(slots.main())",
        ]
        return subprocess.run(
            [*command, "--root", camera.root, *arguments], capture_output=True, text=True, check=False
        )

    def test_install_boot_keep_and_roll_back(self, camera):
        assert self.run(camera, "install", camera.bundle("1.0")).returncode == 0
        assert "on trial" in self.run(camera, "boot").stdout
        assert self.run(camera, "mark-good").returncode == 0
        assert self.run(camera, "install", camera.bundle("2.0")).returncode == 0
        assert self.run(camera, "boot").returncode == 0
        done = self.run(camera, "trial", camera.root / "none.json", "--timeout", "0.1")
        assert done.returncode == 3
        assert "rolling back to 1.0" in done.stdout
        status = json.loads(self.run(camera, "status").stdout)
        assert status["good"].startswith("1.0-")
        assert status["failed"]["release"].startswith("2.0-")
        assert "0 files" in self.run(camera, "wipe").stdout

    def test_a_rejection_is_one_line(self, camera):
        done = self.run(camera, "install", camera.bundle("1.0", board="rk3588"))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "this device is amd64" in done.stderr
        assert self.run(camera, "install", "/nowhere").returncode == 2
        assert self.run(camera, "rollback").returncode == 2

    def test_needs_only_the_standard_library(self):
        modules = ", ".join(path.stem for path in SLOTS.parent.glob("*.py"))
        code = f"import sys; sys.path.insert(0, {str(SLOTS.parent)!r}); import {modules}; print(*sys.modules)"
        loaded = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert "edge_app" not in loaded.split()
