"""The device's own configuration across releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle import UpdateError


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
