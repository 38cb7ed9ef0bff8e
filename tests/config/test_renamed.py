"""Old names of keys: accepted with a warning that names the new one."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.errors import ConfigError

BASE = "source: {type: synthetic}\nmodel: {path: PROJECT/models/digits}\n"
RENAMED = {"output": "publish", "publish.outcome": "results", "sinks.*.file": "path", "heads.*.minimum": "score"}


def test_an_old_key_is_accepted_with_a_warning(config_file, caplog):
    path = config_file(
        BASE + "output: {outcome: all}\nsinks: [{type: jsonl, file: '-'}]\nheads: {digits: {minimum: 1}}"
    )
    loaded = config.load(path, renamed=RENAMED)
    assert loaded.publish.results == "all"
    assert loaded.sinks[0].options == {"path": "-"}
    assert loaded.heads["digits"].options["score"] == 1.0
    assert caplog.messages == [
        f"{path}:3: 'output' was renamed: write 'publish'",
        f"{path}:3: 'outcome' was renamed: write 'results'",
        f"{path}:4: 'file' was renamed: write 'path'",
        f"{path}:5: 'minimum' was renamed: write 'score'",
    ]


def test_the_new_key_gives_no_warning(config_file, caplog):
    assert config.load(config_file(BASE + "publish: {results: all}"), renamed=RENAMED).publish.results == "all"
    assert caplog.messages == []


def test_both_names_in_one_block_are_rejected(config_file):
    path = config_file(BASE + "publish: {results: all, outcome: all}")
    with pytest.raises(ConfigError) as caught:
        config.load(path, renamed=RENAMED)
    assert f"{path}:3: found 'outcome' and its new name 'results'; expected only 'results'" in caught.value.problems
