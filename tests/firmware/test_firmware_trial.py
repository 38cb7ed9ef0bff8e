"""The trial of a release: its health file, or the time, decides."""

from __future__ import annotations

import json
import subprocess

import pytest

import trial


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
