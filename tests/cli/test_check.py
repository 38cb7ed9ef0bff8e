"""`check` constructs the source and reads the page's token, so that `run` finds nothing that check has not found."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.cli.check import check
from edge_app.errors import ConfigError

TEXT = """
source: {type: rtsp, url: "rtsp://viewer:${EDGE_WORD}@127.0.0.1:1/live", OPTIONS}
model: {path: PROJECT/models/digits}
"""


def findings(config_file, options: str) -> list[tuple[str, str]]:
    loaded = config.load(config_file(TEXT.replace("OPTIONS", options)))
    return [(finding.verdict, finding.text) for finding in check(loaded) if finding.area in ("source", "web")]


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


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("c4nary", ("fail", "web.token: env:EDGE_TOKEN has fewer than 8 characters; expected a long random token")),
        ("c4nary\nc4nary", ("fail", "env:EDGE_TOKEN: found the control character U+000A; expected text on one line")),
        ("c4nary c4nary", ("ok", "configured; not served by check")),
    ],
)
def test_a_token_that_run_could_not_use_is_a_failure(config_file, monkeypatch, token, expected):
    monkeypatch.setenv("EDGE_TOKEN", token)
    text = TEXT.replace("url: ", "url: 'rtsp://127.0.0.1:1/live' #").replace("OPTIONS}", "\n  }")
    loaded = config.load(config_file(f"{text}web: {{enabled: true, token: 'env:EDGE_TOKEN'}}\n"))
    assert [(found.verdict, found.text) for found in check(loaded) if found.area == "web"] == [expected]


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "[::1", "x y", "http://127.0.0.1"])
def test_a_host_of_the_page_that_cannot_exist_is_rejected(config_file, host):
    with pytest.raises(ConfigError, match=r"web\.host: found an invalid host name"):
        config.load(config_file(TEXT.replace(", OPTIONS", "") + f"web: {{host: '{host}', token: 'env:T'}}\n"))
