"""A camera runs the complete old or new release; a new one is kept only if it delivers frames."""

from __future__ import annotations

import json
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

SLOTS = Path(trial.__file__).with_name("slots.py")


def current(camera):
    return (camera.root / "current").readlink().name


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


class TestTheTrial:
    """`trial.follow` with an injected clock: the health file or the timeout decides."""

    @pytest.fixture
    def started(self, camera):
        camera.old = camera.run("1.0")
        camera.new, _ = camera.slots.install(camera.bundle("2.0"))
        camera.slots.boot()
        return camera

    def follow(self, camera, reports, timeout=30.0, pid=None):
        """Each report is what the file holds from that moment, in quarters of a second, on."""
        now, path = [0.0], camera.root.parent / "health.json"

        def wait(seconds):
            now[0] += seconds
            if (text := reports.get(now[0])) is not None:
                path.write_text(text if isinstance(text, str) else json.dumps(text))

        return *trial.follow(camera.slots, path, timeout, lambda: now[0], wait, pid=pid), now[0]

    def test_a_healthy_release_is_kept_at_once(self, started):
        reports = {1.0: {"verdict": "waiting", "reason": "no frame"}, 3.0: {"verdict": "healthy", "reason": ""}}
        fine, told, after = self.follow(started, reports)
        assert fine
        assert "kept" in told
        assert after == 3.0
        assert started.slots.state().good == started.new

    def test_a_failed_release_is_rolled_back_at_once_with_its_reason(self, started):
        fine, told, after = self.follow(started, {0.5: {"verdict": "failed", "reason": "golden vectors: off by 3"}})
        assert not fine
        assert "golden vectors: off by 3" in told
        assert after == 0.5
        assert started.slots.boot()[0] == started.old

    def test_a_release_that_waits_too_long_is_rolled_back_with_its_reason(self, started):
        fine, told, after = self.follow(started, {1.0: {"verdict": "waiting", "reason": "no frame yet"}})
        assert not fine
        assert "no frame yet" in told
        assert after == 30.0
        assert started.slots.boot()[0] == started.old

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "7", '{"verdict": "yes", "reason": ""}', '{"verdict": "healthy"}', "[" * 9999, "\xff"]
    )
    def test_an_invalid_report_counts_as_none(self, started, text):
        fine, told, _ = self.follow(started, {1.0: text})
        assert not fine
        assert "reported nothing" in told

    def test_a_link_instead_of_the_report_is_not_followed(self, started):
        target = started.root.parent / "elsewhere"
        target.write_text('{"verdict": "healthy", "reason": ""}')
        (started.root.parent / "health.json").symlink_to(target)
        assert not self.follow(started, {})[0]

    def test_an_exit_of_the_process_is_counted_by_the_next_start(self, started):
        ended = subprocess.Popen(["true"])
        while trial.alive(ended.pid):
            pass
        fine, told, _ = self.follow(
            started, {0.25: {"verdict": "waiting", "reason": "SourceError: busy"}}, pid=ended.pid
        )
        ended.wait()
        assert not fine
        assert "ended: SourceError: busy" in told
        assert started.slots.state().trial.release == started.new
        assert started.slots.boot("SourceError: busy")[0] == started.new
        assert started.slots.boot("SourceError: busy")[0] == started.new
        assert started.slots.boot("SourceError: busy")[0] == started.old
        assert started.slots.state().failed.reason.endswith("none of them healthy: SourceError: busy")

    def test_returns_at_once_if_nothing_is_on_trial(self, camera):
        camera.run("1.0")
        assert self.follow(camera, {}) == (True, "", 0.0)

    def test_a_failed_first_release_continues(self, camera):
        camera.slots.install(camera.bundle("1.0"))
        camera.slots.boot()
        fine, told, _ = self.follow(camera, {})
        assert fine
        assert "no previous release" in told


class TestConfiguration:
    """The device's own configuration is independent of releases, and a rollback restores it."""

    def test_is_unchanged_between_releases_of_one_schema(self, camera):
        camera.run("1.0")
        self.config(camera).write_text("mine")
        camera.run("2.0")
        assert [path.name for path in (camera.root / "config").iterdir()] == ["config.yaml"]

    def test_a_rollback_restores_the_older_file_and_saves_the_newer_one(self, camera):
        old = camera.run("1.0", schemas={"config": 1})
        self.config(camera).write_text("schema one")
        camera.slots.install(camera.bundle("2.0", schemas={"config": 2}))
        camera.slots.boot()
        assert self.config(camera).read_text() == "schema one"  # the release migrates it
        self.config(camera).write_text("schema two")
        camera.slots.rollback("no frames")
        assert camera.slots.boot()[0] == old
        assert self.config(camera).read_text() == "schema one"
        assert (camera.root / "config/config.yaml.schema-2").read_text() == "schema two"

    def test_is_rolled_back_with_the_release_that_it_came_with(self, camera):
        old = camera.run("1.0")
        self.config(camera).write_text("mine")
        new, _ = camera.slots.install(camera.bundle("2.0"), self.offered(camera))
        assert self.config(camera).read_text() == "mine"  # the old release keeps it until the next start
        assert camera.slots.boot()[0] == new
        assert self.config(camera).read_text() == "offered"
        camera.slots.rollback("SourceError: no such camera")
        assert camera.slots.boot()[0] == old
        assert self.config(camera).read_text() == "mine"
        assert self.names(camera) == ["config.yaml"]

    def test_is_kept_with_the_release_that_it_came_with(self, camera):
        camera.run("1.0")
        new, _ = camera.slots.install(camera.bundle("2.0"), self.offered(camera))
        camera.slots.boot()
        camera.slots.mark_good()
        assert camera.slots.boot()[0] == new
        assert self.config(camera).read_text() == "offered"
        assert self.names(camera) == ["config.yaml"]

    def test_a_new_file_for_the_same_release_is_tried(self, camera):
        release = camera.run("1.0")
        camera.slots.install(camera.bundle("1.0"), self.offered(camera))
        camera.slots.boot()
        assert self.config(camera).read_text() == "offered"
        for _ in range(3):
            camera.slots.boot("ConfigError: config.yaml:1: wrong")
        assert camera.slots.state().failed.reason.endswith("config.yaml:1: wrong")
        assert camera.slots.boot()[0] == release
        assert self.names(camera) == []  # as before: the default of the release applies

    def test_a_file_of_a_release_that_never_started_is_removed(self, camera):
        camera.run("1.0")
        camera.slots.install(camera.bundle("2.0"), self.offered(camera))
        new, _ = camera.slots.install(camera.bundle("3.0"))
        assert camera.slots.boot()[0] == new
        assert self.names(camera) == []

    def test_a_release_that_replaces_one_on_trial_does_not_get_its_file(self, camera):
        camera.run("1.0")
        self.config(camera).write_text("mine")
        camera.slots.install(camera.bundle("2.0"), self.offered(camera))
        camera.slots.boot()
        camera.slots.install(camera.bundle("3.0"))
        camera.slots.boot()
        assert self.config(camera).read_text() == "mine"

    def test_rejects_an_unreadable_file(self, camera):
        camera.run("1.0")
        before = camera.tree()
        for config, why in ((camera.root / "none", "cannot be read"), (Path("/dev/null"), "found a device")):
            with pytest.raises(UpdateError, match=why):
                camera.slots.install(camera.bundle("2.0"), config)
        assert camera.tree() == before

    def offered(self, camera):
        path = camera.root.parent / "offered.yaml"
        path.write_text("offered")
        return path

    def names(self, camera):
        return sorted(path.name for path in (camera.root / "config").iterdir())

    def config(self, camera):
        (camera.root / "config").mkdir(exist_ok=True)
        return camera.root / "config/config.yaml"


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
