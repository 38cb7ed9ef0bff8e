"""Every sink of the registry withstands hostile peers: calls end in time, memory is bounded, errors are one clean line.

loopback.py says how a sink is pointed at a peer. A new sink that follows that convention is covered without edits.
"""

from __future__ import annotations

import os
import pty
import threading
import time
import tracemalloc
import tty
from contextlib import contextmanager, suppress

import pytest

from edge_app import dialects, registry
from edge_app.errors import ConfigError, SinkError
from tests.dialects.conftest import recorded
from tests.hostile_peers import (
    body_by_the_byte,
    endless_continue,
    endless_garbage,
    endless_header_line,
    endless_headers,
    header_by_the_byte,
    never_answers,
    resets,
    sends_garbage,
)
from tests.sinks.hostile_brokers import ALL_ATTACKS, EagerPeer, handshake_by_the_byte
from tests.sinks.loopback import SINKS, given, has_tls, is_network, is_serial, options

MAX_CALL_S = 5.0
MAX_BYTES = 4 << 20
NEVER_DELIVERED = {
    never_answers,
    sends_garbage,
    endless_header_line,
    endless_headers,
    endless_continue,
    header_by_the_byte,
    body_by_the_byte,
}


@contextmanager
def bounded():
    """The memory that is allocated meanwhile is bounded, also at its peak."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < MAX_BYTES


def attempt(call):
    """Call a method of a sink. Returns its SinkError, or None."""
    started, error = time.monotonic(), None
    try:
        call()
    except SinkError as exc:
        error = exc
    assert time.monotonic() - started < MAX_CALL_S
    assert error is None or (str(error).isprintable() and len(str(error)) < 400)
    return error


def exercise(sink, message):
    """Use a sink as its delivery thread does. Returns the errors."""
    batch = [message(n) for n in range(3)]
    calls = [lambda: sink.send(batch), sink.idle, lambda: sink.send(batch)]
    errors = [attempt(call) for call in calls]
    for _ in range(2):
        attempt(sink.close)
    return errors


@pytest.mark.parametrize("attack", ALL_ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("type_", [t for t in SINKS if is_network(t)])
def test_a_hostile_peer_costs_bounded_time_and_memory(type_, attack, context, message, tmp_path):
    with EagerPeer(attack) as peer:
        sink = registry.build("sinks", type_, context, **given(type_, tmp_path, port=peer.port))
        with bounded():
            first, _, last = exercise(sink, message)
    assert peer.connections
    if attack in NEVER_DELIVERED:
        assert first.retry
        assert last.retry


@pytest.mark.parametrize(
    "attack", [never_answers, sends_garbage, endless_garbage, header_by_the_byte, handshake_by_the_byte, resets]
)
@pytest.mark.parametrize("type_", [t for t in SINKS if has_tls(t)])
def test_a_hostile_tls_peer_costs_bounded_time_and_memory(type_, attack, context, message, tmp_path):
    with EagerPeer(attack) as peer:
        sink = registry.build("sinks", type_, context, **given(type_, tmp_path, port=peer.port, tls=True))
        with bounded():
            first, _, last = exercise(sink, message)
    assert first.retry
    assert last.retry


@pytest.mark.parametrize("type_", [t for t in SINKS if is_network(t)])
def test_a_silent_name_server_costs_bounded_time(type_, context, message, tmp_path, silent_name_server):
    options = given(type_, tmp_path)
    options = {k: v.replace("127.0.0.1", silent_name_server) if isinstance(v, str) else v for k, v in options.items()}
    sink = registry.build("sinks", type_, context, **options)
    first, _, last = exercise(sink, message)
    assert "no answer to the name lookup in time" in str(first)
    assert first.retry
    assert last.retry


@contextmanager
def serial_peer(data, pause_s):
    """A pty whose other end repeats `data`, or is silent, and reads nothing."""
    host, device = pty.openpty()
    tty.setraw(host)
    tty.setraw(device)
    os.set_blocking(host, False)
    end = threading.Event()

    def run():
        while data and not end.wait(pause_s):
            with suppress(OSError):
                os.write(host, data)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield os.ttyname(device)
    finally:
        end.set()
        thread.join()
        os.close(host)
        os.close(device)


@pytest.mark.parametrize(
    ("data", "pause_s"),
    [(b"", 1.0), (b"a" * 4096, 0.001), (b"\0" * 4096, 0.001), (b"\x01", 0.2), (b"\0\x01\x02\x03\0", 0.001)],
    ids=["never_answers", "endless_garbage", "endless_delimiters", "byte_by_byte", "broken_frames"],
)
@pytest.mark.parametrize("type_", [t for t in SINKS if is_serial(t)])
def test_a_hostile_serial_peer_costs_bounded_time_and_memory(type_, data, pause_s, context, message, tmp_path):
    with serial_peer(data, pause_s) as line:
        sink = registry.build("sinks", type_, context, **given(type_, tmp_path, line=line))
        with bounded():
            first, _, last = exercise(sink, message)
    assert first.retry
    assert last.retry


@pytest.mark.parametrize("type_", SINKS)
def test_every_sink_can_be_built_and_closed_twice_without_a_peer(type_, context, message, tmp_path):
    sink = registry.build("sinks", type_, context, **given(type_, tmp_path))
    exercise(sink, message)


@pytest.mark.parametrize("dialect", dialects.names())
@pytest.mark.parametrize("type_", [t for t in SINKS if "dialect" in options(t)])
def test_every_dialect_can_be_sent_again_after_a_failure(type_, dialect, context, tmp_path):
    sink = registry.build("sinks", type_, context, **given(type_, tmp_path, dialect=dialect))
    for _ in range(2):
        assert attempt(lambda: sink.send(recorded())).retry
    sink.close()


@pytest.mark.parametrize(
    "host", ["", "a..b", "a" * 64, "a b", "[::1", "::1]", "x\0y", "u:p@h", "\ud800", "a\n", "x" * 5000]
)
@pytest.mark.parametrize("type_", [t for t in SINKS if is_network(t)])
def test_a_malformed_address_is_rejected_when_the_sink_is_built(type_, host, context, tmp_path):
    options = given(type_, tmp_path)
    options = {k: v.replace("127.0.0.1", host) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(ConfigError) as error:
        registry.build("sinks", type_, context, **options)
    assert str(error.value).isprintable()
