"""Hostile requests, as raw bytes to the running server: no 5xx, no traceback, no request text in the log."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import logging
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.conftest import TOKEN, ask

PATHS = [
    *("/", "/page.js", "/healthz", "/metrics", "/api/login", "/api/logout", "/api/status", "/api/events"),
    *("/api/snapshots/door-1-1", "/api/snapshots/%ff%00", "/api/live", "/nothing", "*", "", "http://[::1/", "//["),
    *("http://a:99999/", "http://localhost/", "/\\", "/%", "/?%zz=1", "/#x", "localhost:80", "/" + "a" * 9000),
    *("/api/totals", "/?token=a"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "G\xffT", ""]
HEADER_VALUES = {
    "Authorization": ("Bearer \xff", "Bearer", "Bearer ", "Basic Og==", "\xff\xfe", "Bearer " * 99),
    "Host": ("[", "[::1", "::1", "a:b:c", "localhost:x", "\xff", "", "@", "[v1.a]", "xn--\xff", "a" * 5000),
    "Origin": ("http://[", "http://[::1", "null", "\xff", "//", "http://localhost:99999", "http://\u2100"),
    "Cookie": ("edge_app_session=\xff", "=", ";;;", 'a="', "edge_app_session", "\x01=\x02", "$Version=1; a"),
    "Content-Type": ("text/plain; charset=x", "text/plain; charset=utf-16", "\xff", ";;", "a; charset=\0"),
    "Content-Length": ("-1", "x", "\xff", "99999999999999999999999", "0, 0", "+5", "1" * 5000),
    "Transfer-Encoding": ("chunked", "gzip", "chunked, chunked", "x", "\xff", "gzip, chunked"),
    "Content-Encoding": ("gzip", "deflate", "br", "zstd", "x", "\xff"),
    "Expect": ("x", "x\xff", "100-continue", "100-Continue", ""),
    "Connection": ("upgrade", "\xff", "keep-alive", "close, close"),
    "X": ("\x1b[31m", "a\0b", "a\r\n folded", "a\nb", "\r"),
}
UPGRADE = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-"
BAD_UPGRADE = f"{UPGRADE}Version: 13\r\nSec-WebSocket-Key: \xff"
HEADERS = [
    *(f"{name}: {value}" for name, values in HEADER_VALUES.items() for value in values),
    *("Upgrade: websocket", "Range: bytes=9-1", "If-Modified-Since: x", "Accept: text/html", "X-Forwarded-For: \xff"),
    *("\xff: x", ": x", "no colon", " folded", "Host: localhost\r\nHost: ["),
    *(BAD_UPGRADE, f"{UPGRADE}Version: x\r\nSec-WebSocket-Key: AAAA"),
]
ZIPPED = gzip.compress(b"\0" * 1_000_000)
BODIES = [
    *(b"", b"\xff\xfe", b"\0" * 100, b"x" * 5000, ZIPPED, ZIPPED[:-9], b"0", b"x\r\n", b"-1\r\n"),
    *(b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"5;\xff\r\nhello\r\n0\r\nX: \xff\r\n\r\n"),
]


def first_status(port: int, request: bytes, patience_s: float = 0.05) -> int:
    """The status of the first final response; 0 if there is none within `patience_s`, as for half a request."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(request)
        connection.settimeout(patience_s)
        while data := connection.recv(65536):
            received += data
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    return int(received.split(None, 2)[1]) if received else 0


def built(method: str, path: str, header: str = "Host: localhost", body: bytes = b"") -> bytes:
    """A request with the header; `Host: localhost` is added unless the header is Host."""
    host = "" if header.startswith("Host:") else "Host: localhost\r\n"
    return f"{method} {path} HTTP/1.1\r\n{host}{header}\r\n".encode("latin-1", "replace") + b"\r\n" + body


def check_log(records: list[logging.LogRecord]) -> None:
    for record in records:
        assert record.exc_info is None, record.getMessage()
        assert record.levelno < logging.ERROR, record.getMessage()
        assert record.getMessage().isprintable(), repr(record.getMessage())


@pytest.fixture(params=["page", "guarded"])
def server(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


REQUESTS = {
    "methods": [built(method, path) for method, path in itertools.product(METHODS, PATHS)],
    "headers": [built("GET", path, header) for path, header in itertools.product(PATHS[:12], HEADERS)],
    "headers of a login": [built("POST", "/api/login", header, b"guess") for header in HEADERS],
    "bodies": [
        built(method, path, f"{header}\r\nContent-Length: {len(body)}" if "Transfer" not in header else header, body)
        for method, path in (("POST", "/api/login"), ("POST", "/api/logout"), ("GET", "/api/status"))
        for header in HEADERS
        if header.startswith(("Content-Type", "Transfer", "Content-Encoding", "Expect"))
        for body in BODIES
    ],
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_request_causes_a_server_error_or_a_traceback(server, caplog, kind):
    for request in REQUESTS[kind]:
        status = first_status(server.port, request)
        assert status < 500, (status, request)
    assert ask(server, "/healthz")[0] == 200
    gc.collect()  # logs exceptions of tasks that were not retrieved
    check_log(caplog.records)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (built("GET", "/api/status", "Authorization: Bearer \xff"), 401),
        (built("POST", "/api/login", "Content-Type: text/plain; charset=x\r\nContent-Length: 1", b"a"), 401),
        (built("POST", "/api/login", "Content-Encoding: gzip\r\nContent-Length: 1", b"a"), 401),
        (built("POST", "/api/login", "Transfer-Encoding: chunked", b"x\r\n"), 400),
        (built("GET", "/", "Origin: http://["), 400),
        (
            built(
                "GET", "/api/live", f"Authorization: Bearer {TOKEN}\r\n{UPGRADE}Version: 13\r\nSec-WebSocket-Key: \xff"
            ),
            400,
        ),
        (built("GET", "/", "Host: ["), 400),
        (built("GET", "/", "Expect: x\xff"), 417),
        (built("GET", "/nothing", "Expect: x\xff"), 417),
        (built("DELETE", "/", "Expect: x\xff"), 417),
        (built("GET", "/", "no colon"), 400),
    ],
)
def test_malformed_requests_are_rejected_with_400_and_malformed_tokens_with_401(guarded, caplog, request_, expected):
    assert first_status(guarded.port, request_, 5) == expected
    check_log(caplog.records)
    assert len(caplog.records) <= 1


LINE = st.sampled_from([*(header.encode("latin-1", "replace") for header in HEADERS)]) | st.binary(max_size=60)
REQUEST = st.builds(
    lambda method, path, lines, body: (
        method + b" " + path + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    ),
    st.sampled_from([method.encode("latin-1") for method in METHODS]) | st.binary(max_size=10),
    st.sampled_from([path.encode() for path in PATHS[:12]]) | st.binary(max_size=40).map(b"/".__add__),
    st.lists(LINE, max_size=5),
    st.sampled_from(BODIES) | st.binary(max_size=200),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUEST | st.binary(max_size=300) | st.lists(REQUEST, min_size=2, max_size=3).map(b"".join))
def test_arbitrary_requests_cause_no_server_error_or_traceback(guarded, caplog, request):
    assert first_status(guarded.port, request) < 500
    check_log(caplog.records)
    caplog.clear()


HOSTILE_PATHS = [
    "/../../../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/api/snapshots/..%2f..%2foutbox.db",
    "/api/snapshots/%2e%2e",
    "/static/page.js",
    "//etc/passwd",
    "/api/status/../../etc",
    "/\x7f",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_rejects_hostile_paths(page, path):
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        connection.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"400", b"404"), answer
    assert b"root:" not in answer


def test_rejects_large_and_malformed_requests(page):
    def raw(request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", page.port), timeout=15) as connection:
            try:
                connection.sendall(request)
                return b"".join(iter(lambda: connection.recv(65536), b""))
            except ConnectionError:
                return b""

    assert raw(
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000
    ).split()[1:2] in ([b"413"], [])
    assert raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n").split()[1:2] in (
        [b"400"],
        [],
    )
    assert raw(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000).split()[1:2] in ([b"400"], [])
    assert raw(b"\x16\x03\x01\x02\x00 no http\r\n\r\n").split()[1:2] == [b"400"]
    assert ask(page, "/api/status", "DELETE")[0] == 405
    assert ask(page, "/healthz")[0] == 200
