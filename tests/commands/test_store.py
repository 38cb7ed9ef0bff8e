"""Save and Undo: checked, atomic, without losing an edit on disk."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_app import config
from edge_app.commands import atomic_file
from edge_app.commands import undo as undo_history
from edge_app.commands.store import ConfigStore, Conflict
from edge_app.config.overrides import FILE, UNFIT_COPY
from edge_app.errors import ConfigError

TEXT = """\
# the camera at the gate
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240}
model: {path: PROJECT/models/digits}
rules:
  - name: plaza  # in front
    type: zone
    head: digits
    polygon: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]]
  - {name: old, type: count, head: digits}
track: {head: digits}
"""
POLYGON = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.fixture
def path(config_file) -> Path:
    return config_file(TEXT)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch):
    """config.yaml cannot be written: root may write everywhere, so the question is answered for it."""
    monkeypatch.setattr(atomic_file, "can_replace", lambda path: False)


def save(store: ConfigStore, **changes: Any) -> dict[str, Any]:
    return store.save(store.view()["version"], changes)


def test_view_shows_what_can_be_edited(path: Path):
    view = ConfigStore(path).view()
    assert view["rules"]["plaza"]["polygon"][0] == [0.1, 0.1]
    assert view["heads"]["digits"]["score"] == 0.4  # the default of its family
    assert (view["stored_in"], view["undo"], view["tracked"]) == ("config.yaml", 0, "digits")
    assert view["labels"]["digits"][1] == "1"
    assert "zone" in view["rule_types"]


def test_save_changes_the_file_in_place(path: Path):
    store = ConfigStore(path)
    before = path.read_text(encoding="utf-8")
    saved = save(store, rules={"plaza": {"polygon": POLYGON}, "old": None}, mask=[POLYGON])
    text = path.read_text(encoding="utf-8")
    assert saved == {"version": store.view()["version"], "stored_in": "config.yaml", "undo": 1}
    assert text.startswith("# the camera at the gate\n")
    assert "- name: plaza  # in front\n" in text
    loaded = config.load(path)
    assert [rule.name for rule in loaded.rules] == ["plaza"]
    assert loaded.source.common.mask == (((0, 0), (1, 0), (1, 1)),)
    assert store.undo(saved["version"])["undo"] == 0
    assert path.read_text(encoding="utf-8") == before
    assert store.undo(store.view()["version"]) is None


@pytest.mark.usefixtures("read_only")
def test_without_write_access_the_change_goes_over_config_yaml(path: Path):
    store = ConfigStore(path)
    before = path.read_bytes()
    first = save(store, rules={"plaza": {"polygon": POLYGON}, "old": None})
    assert first["stored_in"] == FILE
    assert save(store, heads={"digits": {"score": 0.7}})["undo"] == 2
    assert path.read_bytes() == before
    file = path.parent / "state" / FILE
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["rules"] == {"plaza": {"polygon": POLYGON}, "old": None}
    assert store.view()["rules"]["plaza"]["polygon"] == POLYGON
    assert list(store.view()["rules"]) == ["plaza"]
    assert config.load(path).heads["digits"].options["score"] == 0.7
    for _ in range(2):
        store.undo(store.view()["version"])
    assert not file.exists()


@pytest.mark.usefixtures("read_only")
def test_a_rule_that_was_removed_and_added_again_has_nothing_of_the_old_one(path: Path):
    store = ConfigStore(path)
    save(store, rules={"plaza": None})
    save(store, rules={"plaza": {"type": "count", "head": "digits"}})
    assert store.view()["rules"]["plaza"] == {"type": "count", "head": "digits"}
    save(store, rules={"new": {"type": "count", "head": "digits"}})
    save(store, rules={"new": None})
    assert "new" not in (path.parent / "state" / FILE).read_text(encoding="utf-8")


def test_once_there_is_an_overrides_file_it_stays_the_place(path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ConfigStore(path)
    with monkeypatch.context() as patched:
        patched.setattr(atomic_file, "can_replace", lambda path: False)
        save(store, heads={"digits": {"score": 0.7}})
    assert save(store, heads={"digits": {"score": 0.8}})["stored_in"] == FILE  # else it would hide the change
    assert config.load(path).heads["digits"].options["score"] == 0.8


def test_an_edit_on_disk_is_a_conflict_and_nothing_is_written(path: Path):
    store = ConfigStore(path)
    version = store.view()["version"]
    edited = path.read_text(encoding="utf-8").replace("0.5, 0.9", "0.6, 0.9")
    path.write_text(edited, encoding="utf-8")
    with pytest.raises(Conflict) as error:
        store.save(version, {"rules": {"plaza": {"polygon": POLYGON}}})
    assert error.value.version == store.view()["version"] != version
    assert path.read_text(encoding="utf-8") == edited


def test_undo_does_not_take_back_an_edit_on_disk(path: Path):
    store = ConfigStore(path)
    saved = save(store, heads={"digits": {"score": 0.7}})
    path.write_text(path.read_text(encoding="utf-8") + "\n# by hand\n", encoding="utf-8")
    for version in (saved["version"], store.view()["version"]):
        with pytest.raises(Conflict):
            store.undo(version)
    assert path.read_text(encoding="utf-8").endswith("# by hand\n")


def test_undo_keeps_the_last_five(path: Path):
    store = ConfigStore(path)
    for i in range(6):
        save(store, heads={"digits": {"score": i / 10}})
    undone = 0
    while store.undo(store.view()["version"]) is not None:
        undone += 1
    assert undone == 5
    assert config.load(path).heads["digits"].options["score"] == 0.0


def test_undo_works_after_a_restart(path: Path):
    before = path.read_bytes()
    save(ConfigStore(path), heads={"digits": {"score": 0.7}})
    save(ConfigStore(path), heads={"digits": {"score": 0.8}})
    for left in (1, 0):
        restarted = ConfigStore(path)
        assert restarted.view()["undo"] == left + 1
        assert restarted.undo(restarted.view()["version"])["undo"] == left
    assert path.read_bytes() == before


def test_after_an_edit_on_disk_nothing_can_be_undone(path: Path):
    store = ConfigStore(path)
    save(store, heads={"digits": {"score": 0.7}})
    path.write_text(path.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    assert store.view()["undo"] == 0


def test_a_forged_history_writes_no_configuration_that_is_invalid(path: Path):
    before, store = path.read_bytes(), ConfigStore(path)
    version = store.view()["version"]
    forged = [(undo_history.Files(b"model: [", b""), version)]
    undo_history.History().write(path.parent / "state", forged)
    with pytest.raises(ConfigError, match="not valid YAML"):
        ConfigStore(path).undo(version)
    assert path.read_bytes() == before


UNFIT = "source: {mask: [[[0, 0], [0.2, 0], [0.2, 0.2]]]}\nrules: {gone: {dwell_s: 1}}\n"


@pytest.mark.usefixtures("read_only")
def test_a_change_replaces_overrides_that_do_not_fit_and_keeps_a_copy(path: Path):
    state = path.parent / "state"
    state.mkdir()
    (state / FILE).write_text(UNFIT, encoding="utf-8")
    store = ConfigStore(path)
    view = store.view()
    assert "config.yaml has no such rule" in view["unfit"][0]
    assert view["mask"] == [[[0, 0], [0.2, 0], [0.2, 0.2]]]
    assert list(view["rules"]) == ["plaza", "old"]
    assert save(store, heads={"digits": {"score": 0.7}})["undo"] == 0  # what does not fit cannot come back
    loaded = config.load(path)
    assert (loaded.heads["digits"].options["score"], len(loaded.source.common.mask)) == (0.7, 1)
    assert (state / UNFIT_COPY).read_text(encoding="utf-8") == UNFIT
    assert save(store, heads={"digits": {"score": 0.8}})["undo"] == 1


def test_where_config_yaml_can_be_written_overrides_that_do_not_fit_are_put_aside(path: Path):
    state = path.parent / "state"
    state.mkdir()
    (state / FILE).write_text("rules: {gone: {dwell_s: 1}}\n", encoding="utf-8")
    store = ConfigStore(path)
    assert save(store, heads={"digits": {"score": 0.7}})["stored_in"] == "config.yaml"
    assert (state / FILE).exists() is False
    assert (state / UNFIT_COPY).exists()
    assert config.load(path).heads["digits"].options["score"] == 0.7


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rules": {"plaza": {"polygon": [[0, 0]]}}}, "rules.plaza.polygon: found a polygon of 1 points"),
        ({"heads": {"digits": {"score": 7}}}, "heads.digits.score: found '7'; expected a number 0 to 1"),
        ({"heads": {"digits": {"max_age_s": 7}}}, "heads.digits: found 'max_age_s', which this file cannot change"),
        ({"heads": {"digits": {"labels": ["\x1b"]}}}, "heads.digits.labels[0]: found the control character"),
        ({"rules": {"new": {"dwell_s": 1}}}, "rules.new: config.yaml has no such rule; expected a type"),
        ({"rules": {"new": {"type": "zone", "head": "face", "polygon": POLYGON}}}, "there is no head 'face'"),
        ({"rules": []}, "rules: found list; expected names"),
        ({"sinks": []}, "changes: found 'sinks'; expected one of: rules, heads, mask, schedule"),
        ({"mask": [[[0, 0], [2, 0], [1, 1]]]}, "source.mask[0][1][0]: found '2'; expected a number 0 to 1"),
        ({"schedule": ["never"]}, "source.schedule"),
        ({"mask": [[[[[[[[[[1]]]]]]]]]]}, "mask: nested deeper than 8 levels"),
        ({"rules": {"plaza": "x"}}, "rules.plaza: found 'x'; expected options"),
        ({"heads": {"digits": None}}, "heads.digits: found nothing; expected options"),
        ({"heads": {"\ud800": {"score": 1}}}, ""),
    ],
)
@pytest.mark.parametrize("place", ["config.yaml", FILE])
def test_a_mistake_changes_nothing(path: Path, request: pytest.FixtureRequest, changes, problem: str, place: str):
    if place == FILE:
        request.getfixturevalue("read_only")
    before = path.read_bytes()
    with pytest.raises(ConfigError) as error:
        save(ConfigStore(path), **changes)
    assert problem in str(error.value)
    assert str(path) not in str(error.value)  # a place in the configuration, not a file
    assert path.read_bytes() == before
    assert not (path.parent / "state" / FILE).exists()


@pytest.mark.parametrize("place", ["config.yaml", FILE])
def test_a_full_disk_changes_nothing(path: Path, request: pytest.FixtureRequest, place: str):
    if place == FILE:
        request.getfixturevalue("read_only")
    store = ConfigStore(path)
    before, version = path.read_bytes(), store.view()["version"]
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match=r"\w"):
            store.save(version, {"rules": {"plaza": {"polygon": POLYGON}}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert store.view()["version"] == version
    assert store.view()["undo"] == 0


def test_the_patch_of_a_command_may_set_the_precision_only_in_config_yaml(path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ConfigStore(path)
    store.persist({"model": {"precision": "int8"}})
    assert config.load(path).model.precision == "int8"
    monkeypatch.setattr(atomic_file, "can_replace", lambda path: False)
    with pytest.raises(ConfigError, match="found the block 'model', which this file cannot change"):
        store.persist({"model": {"precision": "float"}})


def test_a_broken_file_is_reported(path: Path):
    store = ConfigStore(path)
    path.write_text("][", encoding="ascii")
    with pytest.raises(ConfigError, match="not valid YAML"):
        store.view()
