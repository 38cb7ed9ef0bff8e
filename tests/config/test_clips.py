"""The block `clips`: mistakes are reported with their line."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.errors import ConfigError

TEXT = """source: {type: synthetic}
model: {path: PROJECT/models/digits}
rules: [{name: camera, type: scene, head: scene}]
clips: OPTIONS
"""


def test_clips_are_off_by_default(config_file):
    assert not config.load(config_file(TEXT.replace("OPTIONS", "{before_s: 3}"))).clips.enabled


def test_accepts_the_rules_whose_events_are_recorded(config_file):
    text = TEXT.replace("OPTIONS", "{enabled: true, before_s: 3, after_s: 2, max_s: 5, rules: [camera]}")
    assert config.load(config_file(text)).clips.rules == ("camera",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{rules: [camara]}", r":4: clips\.rules: there is no rule 'camara'; did you mean 'camera'\?"),
        ("{before_s: 15, after_s: 10}", r"clips\.max_s: found 20; expected at least before_s \+ after_s \(25\)"),
        ("{max_s: 5}", r":4: clips\.max_s: found 5; expected at least before_s \+ after_s \(10\)"),
        ("{fps: 0}", r":4: clips\.fps"),
        ("{memory_mb: 1000000}", r":4: clips\.memory_mb"),
        ("{seconds: 3}", r":4: clips: unknown option 'seconds'"),
    ],
)
def test_mistakes_have_a_line(config_file, options, message):
    with pytest.raises(ConfigError, match=message):
        config.load(config_file(TEXT.replace("OPTIONS", options)))
