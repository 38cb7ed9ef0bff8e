"""Limits on connections: a person is answered while strangers hold connections open."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from edge_app.web.connection_limiter import client_network
from tests.web.conftest import TOKEN, ask

LOGIN = b"POST /api/login HTTP/1.1\r\nHost: localhost\r\n"
HELD_OPEN = {
    "silent": b"",
    "only line ends": b"\r\n\r\n",
    "many line ends": b"\r\n" * 500,
    "half a request line": b"GET / HT",
    "half the headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    "half a pipelined request": b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nX: \r\n",
    "expects nonsense": b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n",
    "expects to continue": LOGIN + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "no body": LOGIN + b"Content-Length: 5\r\n\r\n",
    "half a chunk": LOGIN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "half a TLS handshake": b"\x16\x03\x01\x02\x00\x01",
}
PERSONS = ("127.0.0.1", "127.0.0.2")


@contextmanager
def held(port: int, request: bytes, count: int = 64) -> Iterator[list[socket.socket]]:
    """Connections from 127.0.0.1 that send `request` and then nothing."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with contextlib.suppress(ConnectionError):
                connection.sendall(request)
            connections.append(connection)
        yield connections


def ended_after_s(connection: socket.socket, began_s: float) -> float:
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began_s


@pytest.mark.parametrize("kind", HELD_OPEN)
@pytest.mark.parametrize("person", PERSONS)
def test_a_person_is_answered_within_a_second_while_64_connections_are_held(page, kind, person):
    with held(page.port, HELD_OPEN[kind]):
        took_s = []
        for _ in range(3):
            began = time.monotonic()
            assert ask(page, "/", source=person)[0] == 200
            assert ask(page, "/api/status", source=person)[0] == 200
            took_s.append(time.monotonic() - began)
        assert statistics.median(took_s) < 1


@pytest.mark.parametrize("person", PERSONS)
def test_a_person_can_log_in_during_a_flood_of_requests_with_wrong_tokens(guarded, person):
    done = threading.Event()
    floods = [threading.Thread(target=flood, args=(guarded.port, done)) for _ in range(4)]
    for thread in floods:
        thread.start()
    try:
        time.sleep(0.3)
        began = time.monotonic()
        assert ask(guarded, "/api/login", "POST", TOKEN, source=person)[0] == 200
        assert time.monotonic() - began < 5  # the flood takes a core
    finally:
        done.set()
        for thread in floods:
            thread.join()


def flood(port: int, done: threading.Event) -> None:
    """Connections that send a wrong token and stay open; at most 60 at a time, for at most 10 s."""
    connections: list[socket.socket] = []
    end_s = time.monotonic() + 10
    while not done.wait(0.002) and time.monotonic() < end_s:
        with contextlib.suppress(OSError):
            connections.append(socket.create_connection(("127.0.0.1", port), timeout=2))
            connections[-1].sendall(LOGIN + b"Content-Length: 5\r\n\r\nguess")
        if len(connections) > 60:
            connections.pop(0).close()
    for connection in connections:
        connection.close()


def test_connections_are_closed_5_s_after_their_accept_unless_a_handler_was_reached(page):
    began = time.monotonic()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(held(page.port, HELD_OPEN[kind], 1))[0]
            for kind in ("silent", "only line ends", "half the headers", "half a pipelined request", "expects nonsense")
        ]
        assert all(ended_after_s(connection, began) < 7 for connection in connections)


def test_a_drip_of_bytes_does_not_extend_the_deadline(page):
    with held(page.port, b"GET / HTTP/1.1\r\n", 1) as (connection,):
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 9:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.1)
        assert time.monotonic() - began < 7


def test_requests_that_never_end_are_cut_at_16_kb(page):
    with held(page.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n", 1) as (connection,):
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                connection.sendall(b"X: " + b"y" * 4000 + b"\r\n")
                time.sleep(0.01)
        assert time.monotonic() - began < 2


def test_a_client_that_does_not_read_its_response_is_disconnected(page, monkeypatch):
    """A response larger than the buffers of both sides; the limits are shortened."""
    from edge_app.web import connection_limiter

    monkeypatch.setattr(connection_limiter, "_RESPONSE_TIMEOUT_S", 1.0)
    page._files["/page.js"] = (b"x" * (64 << 20), "text/javascript")
    with held(page.port, b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 1) as (connection,):
        time.sleep(2.5)
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(1 << 20):
                received += len(data)
        assert received < 64 << 20


def test_two_hundred_slow_connections_are_closed(page):
    """Slowloris: the older ones are closed at once, the others after 5 s; the server answers meanwhile."""
    began = time.monotonic()
    with held(page.port, HELD_OPEN["half the headers"], 200) as connections:
        assert ask(page, "/healthz")[0] == 200
        assert all(ended_after_s(connection, began) < 20 for connection in connections)


def test_times_out_on_a_missing_body(page):
    with held(page.port, HELD_OPEN["no body"], 1) as (connection,):
        assert ended_after_s(connection, time.monotonic()) < 12


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        (None, ""),
        ((), ""),
    ],
)
def test_groups_addresses_by_client(peer, network):
    assert client_network(peer) == network
