"""Secrets of every sink of the registry never reach a log, a status, a message, an exception's text or a repr.

A canary is planted in every option of type Secret, and in the places of an address where people put passwords.
loopback.py says how a sink is pointed at a peer. A new sink is covered without edits.
"""

from __future__ import annotations

import json
import logging
import random
import time
import traceback
from contextlib import suppress
from dataclasses import asdict

import pytest

from edge_app import registry
from edge_app.backoff import Backoff
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig, PluginConfig
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.options.secret import Secret
from edge_app.outbox import Outbox, view
from edge_app.publish.build import _build
from edge_app.publish.delivery import Delivery
from edge_app.publish.transport import SinkStats
from edge_app.sinks import SinkContext
from tests.hostile_peers import closes_at_once, never_answers, resets, sends_garbage
from tests.sinks.hostile_brokers import EagerPeer, connack_only, header, unknown_connack_code
from tests.sinks.loopback import SINKS, given, is_network, options, secrets, url_option

CANARY = "c4nary-7f3a"


def echoes(c):
    """Answers with what it gets, in the reason phrase of a status too."""
    c.send(f"HTTP/1.1 403 no {CANARY} \x1b[31m\r\nLocation: http://h/{CANARY}\r\nContent-Length: 0\r\n\r\n".encode())


def echoes_as_a_redirect(c):
    c.send(f"HTTP/1.1 302 {CANARY}\r\nLocation: http://h/?t={CANARY}\r\nContent-Length: 0\r\n\r\n".encode())


def refuses(c):
    c.send(f"HTTP/1.1 400 Bearer {CANARY}\r\nContent-Length: 0\r\n\r\n".encode())


def refuses_the_login(c):
    c.send(b"\x20\x02\x00\x04" + header(0x30, len(CANARY)) + CANARY.encode())


class RecordingPeer(EagerPeer):
    """Closes each connection after it has received something."""

    received = b""

    def _serve(self, accepted):
        with accepted, suppress(OSError):
            self.received += accepted.recv(65536)


FAILURES = (
    never_answers,
    sends_garbage,
    closes_at_once,
    resets,
    echoes,
    echoes_as_a_redirect,
    refuses,
    refuses_the_login,
    unknown_connack_code,
    connack_only,
)
WITH_SECRETS = [type_ for type_ in SINKS if secrets(type_)]


def plant(type_, kind, tmp_path, monkeypatch):
    """References to the canary for every secret of a sink. A name next to a password is needed to send it."""
    monkeypatch.setenv("EDGE_TEST_CANARY", f" {CANARY}\n")
    (tmp_path / "canary").write_text(f"{CANARY}\n")
    reference = Secret("env", "EDGE_TEST_CANARY") if kind == "env" else Secret("file", str(tmp_path / "canary"))
    planted = dict.fromkeys(secrets(type_), reference)
    return {**planted, "username": "cam"} if "username" in options(type_) else planted


def failures_of(sink, context, folder):
    """Deliver three messages to a sink that fails. Returns everything that is visible of it, as text."""
    encoder = Encoder("cam-1", context.clock.boot_id, {})

    def status(seq, state):
        return encoder.status(seq, Stamp(0, 0, True), state)

    box = Outbox(folder, ["sink"], OutboxConfig(), context.clock, lambda seq, gap: status(seq, {"gap": gap}))
    delivery = Delivery("sink", sink, box, context.clock, backoff=Backoff(0.01, 0.01), rng=random.Random(1))
    for _ in range(3):
        box.put(lambda seq: status(seq, {}))
    delivery.start()
    end = time.monotonic() + 5
    while delivery.failed < 3 and box.stats().queued["sink"] and time.monotonic() < end:
        time.sleep(0.01)
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    stats = SinkStats("sink", delivery.sent, 0, delivery.failed, delivery.refused, delivery.last_error)
    box.close()
    published = [*view.messages(folder), *view.messages(folder, refused=True)]
    return "\n".join([repr(sink), str(sink), repr(delivery), json.dumps(asdict(stats)), *published]), stats


@pytest.mark.parametrize("attack", FAILURES, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("kind", ["env", "file"])
@pytest.mark.parametrize("type_", WITH_SECRETS)
def test_no_failure_shows_a_secret(type_, kind, attack, context, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with EagerPeer(attack) as peer:
        planted = plant(type_, kind, tmp_path, monkeypatch)
        sink = registry.build("sinks", type_, context, **given(type_, tmp_path, port=peer.port, **planted))
        shown, stats = failures_of(sink, context, tmp_path / "state")
    assert stats.failed, "every attack is a failure, and it is counted"
    assert stats.last_error
    assert CANARY not in shown
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("type_", WITH_SECRETS)
def test_the_secret_is_sent(type_, context, message, tmp_path, monkeypatch):
    """Otherwise the test above would find nothing in any case."""
    with RecordingPeer(never_answers) as peer:
        planted = plant(type_, "file", tmp_path, monkeypatch)
        sink = registry.build("sinks", type_, context, **given(type_, tmp_path, port=peer.port, **planted))
        for _ in range(10):  # on a busy machine an attempt may time out
            with pytest.raises(SinkError):
                sink.send([message(1)])
            if CANARY.encode() in peer.received:
                break
        sink.close()
    assert CANARY.encode() in peer.received


@pytest.mark.parametrize("content", [f"{CANARY}\nX: y", f"{CANARY}\r\nX: y", f"{CANARY}\x1b[31m", f"{CANARY}\0"])
@pytest.mark.parametrize("type_", WITH_SECRETS)
def test_a_secret_with_a_control_character_is_rejected_without_quoting_it(type_, content, context, tmp_path):
    (tmp_path / "secret").write_bytes(content.encode())
    planted = dict.fromkeys(secrets(type_), Secret("file", str(tmp_path / "secret")))
    with pytest.raises(ConfigError) as error:
        registry.build("sinks", type_, context, **given(type_, tmp_path, **planted))
    assert len(error.value.problems) == 1
    assert str(error.value).isprintable()
    assert CANARY not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("type_", WITH_SECRETS)
def test_a_secret_that_breaks_later_is_an_error_without_quoting_it(type_, context, message, tmp_path):
    file = tmp_path / "secret"
    file.write_text("good")
    planted = dict.fromkeys(secrets(type_), Secret("file", str(file)))
    extra = {"username": "cam"} if "username" in options(type_) else {}
    sink = registry.build("sinks", type_, context, **given(type_, tmp_path, **planted, **extra))
    file.write_text(f"{CANARY}\nX: y")
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    assert error.value.retry
    assert str(error.value).isprintable()
    assert CANARY not in "".join(traceback.format_exception(error.value))
    sink.close()


@pytest.mark.parametrize(
    "address",
    [
        f"user:{CANARY}@127.0.0.1",
        f"{CANARY}@127.0.0.1",
        f"user:{CANARY}",
        f"user:{CANARY}/x@127.0.0.1",
        f"user:{CANARY}#x@127.0.0.1",
        f"user:{CANARY}?x@127.0.0.1",
        f"[{CANARY}",
        f"user:[{CANARY}]@127.0.0.1",
        f"127.0.0.1:{CANARY}",
        f"{CANARY} \x1b",
        f"\ud800{CANARY}",
    ],
)
@pytest.mark.parametrize("type_", [t for t in SINKS if is_network(t)])
def test_a_password_in_an_address_is_not_shown(type_, address, context, tmp_path):
    name = url_option(type_) or "host"
    given_options = given(type_, tmp_path)
    given_options[name] = str(given_options[name]).replace("127.0.0.1:9", address).replace("127.0.0.1", address)
    with pytest.raises(ConfigError) as error:
        _build(PluginConfig(type_, given_options, "config.yaml:7"), context)
    assert str(error.value).isprintable()
    assert CANARY not in str(error.value)


def test_a_secret_in_the_query_of_a_url_is_not_shown(message, tmp_path):
    context = SinkContext("cam-1", "sink", SystemClock())
    for type_ in filter(url_option, SINKS):
        given_options = given(type_, tmp_path)
        given_options[str(url_option(type_))] += f"in?token={CANARY}"
        sink = registry.build("sinks", type_, context, **given_options)
        with pytest.raises(SinkError) as error:
            sink.send([message(1)])
        assert CANARY not in str(error.value) + repr(sink)
        sink.close()
