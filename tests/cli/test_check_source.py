"""`check` constructs the configured source, so that `run` finds nothing that check has not found."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.cli.check import check

TEXT = """
source: {type: rtsp, url: "rtsp://viewer:${EDGE_WORD}@127.0.0.1:1/live", OPTIONS}
model: {path: PROJECT/models/digits}
"""


def findings(config_file, options: str) -> list[tuple[str, str]]:
    loaded = config.load(config_file(TEXT.replace("OPTIONS", options)))
    return [(finding.verdict, finding.text) for finding in check(loaded) if finding.area == "source"]


def test_a_valid_address_is_not_opened(config_file, monkeypatch):
    monkeypatch.setenv("EDGE_WORD", "c4nary")
    assert findings(config_file, "") == [("ok", "rtsp: configured; not opened by check")]


@pytest.mark.parametrize(
    ("word", "options", "expected"),
    [
        (None, "", "source.url: found ${EDGE_WORD}; expected an environment variable of that name"),
        ("c4nary\x1b", "", "source.url: in the value of ${EDGE_WORD}: found the control character U+001B"),
        ("c4nary", "password: 'file:none'", "none: cannot be read: No such file or directory"),
        ("c4nary", "credentials: none", "none: cannot be read: No such file or directory"),
    ],
)
def test_a_login_that_run_could_not_use_is_a_failure(config_file, monkeypatch, word, options, expected):
    monkeypatch.delenv("EDGE_WORD", raising=False)
    if word is not None:
        monkeypatch.setenv("EDGE_WORD", word)
    ((verdict, text),) = findings(config_file, options)
    assert verdict == "fail"
    assert expected in text
    assert "c4nary" not in text
