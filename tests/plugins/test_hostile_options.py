"""Every plug-in of every kind: hostile values of options give an EdgeError in one line, and never another exception."""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app import registry
from edge_app.clock import ClipClock
from edge_app.errors import ConfigError, EdgeError
from edge_app.heads import HeadSpec
from edge_app.options import read_options
from edge_app.options.document import Problems, parse_yaml
from edge_app.rules import RuleContext
from edge_app.sinks import SinkContext
from tests.plugins import hostile_values, readmes

LABELS = tuple("0123456789")
CONTEXT = {
    "sources": (ClipClock(),),
    "backends": (),
    "heads": (HeadSpec("digits", "detect", LABELS, (96, 64)),),
    "rules": (RuleContext("rule", "zone", {"digits": LABELS, "scene": ("ok",)}, "digits"),),
    "sinks": (SinkContext("cam", "sink", ClipClock()),),
}
LONGEST_S = 5.0


@pytest.fixture
def loopback_only(monkeypatch):
    """A constructor must not connect, and nothing may leave this machine."""

    def connect(_socket, address):
        raise AssertionError(f"a constructor connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.parametrize(("kind", "type_"), [(k, t) for k in readmes.KINDS for t in registry.names(k)])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_hostile_options_are_rejected_in_one_line(kind, type_, loopback_only, tmp_path, data):
    (tmp_path / "file").touch()
    options = registry.options(kind, type_)
    document = data.draw(hostile_values.document(options))
    started_s = time.monotonic()
    mistakes: tuple[str, ...] = ()
    try:
        problems = Problems(tmp_path / "config.yaml")
        values = read_options(parse_yaml(document.encode(errors="surrogatepass"), problems), options, "block", problems)
        problems.raise_if_any()
        plugin = registry.build(kind, type_, *CONTEXT[kind], **values)
        if hasattr(plugin, "close"):
            plugin.close()
    except EdgeError as exc:
        mistakes = exc.problems if isinstance(exc, ConfigError) else (str(exc),)
    assert time.monotonic() - started_s < LONGEST_S
    for mistake in mistakes:
        assert mistake.isprintable()
        assert "the constructor raised" not in mistake, "it must name the option and what it expects"
