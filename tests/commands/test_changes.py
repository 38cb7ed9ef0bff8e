"""Commands as changes of a configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_app import config
from edge_app.commands import Command, CommandError, parse
from edge_app.commands.changes import LiveChanges, changed, patch_of, score_of
from edge_app.config import Config
from edge_app.config.patching import apply_patch

TEXT = """
source: {type: synthetic}
model: {path: PROJECT/models/digits}
heads: {scene: {}, digits: {score: 0.4}}
rules: [{name: all, type: count, head: digits}]
"""


@pytest.fixture
def loaded(config_file) -> Config:
    return config.load(config_file(TEXT))


def test_each_command_changes_its_subject(loaded: Config):
    assert not changed(loaded, parse("heads/digits", b"OFF")).heads["digits"].common.enabled
    assert score_of(changed(loaded, parse("heads/digits/score", b"0.9")), "digits") == 0.9
    assert not changed(loaded, parse("rules/all", b"OFF")).rules[0].enabled
    assert changed(loaded, parse("reuse", b"ON")).reuse.mode == "auto"
    assert changed(loaded, parse("precision", b"int8")).model.precision == "int8"
    assert not any(head.common.enabled for head in changed(loaded, parse("detect", b"OFF")).heads.values())
    for name in ("snapshot", "reload", "restart"):
        assert changed(loaded, parse(name, b"")) == loaded


@pytest.mark.parametrize(
    ("command", "status", "problem"),
    [
        (Command("rules/*", "al", False), 404, "rules/al: there is no rule 'al'; did you mean 'all'?"),
        (Command("heads/*", "face", True), 404, "there is no head 'face'; expected one of: digits, scene"),
        (Command("heads/*/score", "face", 0.5), 404, "there is no head 'face'"),
    ],
)
def test_a_subject_that_is_not_there_is_rejected(loaded: Config, command: Command, status: int, problem: str):
    with pytest.raises(CommandError, match="there is no") as error:
        changed(loaded, command)
    assert problem in str(error.value)
    assert error.value.status == status


def test_detect_on_restores_what_is_configured(loaded: Config):
    live = LiveChanges().plus(parse("heads/scene", b"OFF")).plus(parse("detect", b"OFF"))
    assert [head.common.enabled for head in live.over(loaded).heads.values()] == [False, False]
    live = live.plus(parse("detect", b"ON"))
    assert {name: head.common.enabled for name, head in live.over(loaded).heads.items()} == {
        "scene": False,
        "digits": True,
    }


def test_a_reload_drops_only_the_commands_that_the_files_contradict(loaded: Config):
    live = LiveChanges().plus(parse("heads/digits/score", b"0.9")).plus(parse("rules/all", b"OFF"))
    heads = {**loaded.heads, "digits": replace(loaded.heads["digits"], options={"score": 0.2})}
    edited = loaded.replaced(heads=heads)
    kept = live.reloaded(loaded, edited)
    assert kept.status() == {"rules/all": False}
    assert score_of(kept.over(edited), "digits") == 0.2
    without = loaded.replaced(rules=())
    assert kept.reloaded(edited, without).status() == {}


@pytest.mark.parametrize(
    ("name", "payload"),
    [("heads/digits", b"OFF"), ("heads/digits/score", b"0.9"), ("rules/all", b"OFF"), ("reuse", b"ON")],
)
def test_the_patch_of_a_command_has_its_effect(loaded: Config, config_file, name: str, payload: bytes):
    import yaml

    command = parse(name, payload)
    document = yaml.safe_load(loaded.path.read_text(encoding="utf-8"))
    patched = apply_patch(document, patch_of(loaded, command), list(loaded.manifest.heads))
    stored = config.load(config_file(yaml.safe_dump(patched)))
    live = changed(loaded, command)
    assert (stored.heads, stored.rules, stored.reuse) == (live.heads, live.rules, live.reuse)
