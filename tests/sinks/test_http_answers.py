"""Whatever a server answers, `send` returns ids or raises SinkError with one clean line."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.sinks import SinkContext
from edge_app.sinks.http import Sink

MESSAGE = Encoder("cam-1", "boot", {}).status(1, Stamp(0, 0, True), {})
TEXT = st.binary(max_size=40)
HEADER = st.tuples(
    st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Retry-After", b"Location", b"Connection", b"X"]) | TEXT,
    st.sampled_from([b"chunked", b"close", b"-1", b"9" * 30, b"5", b"Sun, 99 Foo 9999 99:99:99 +9999"]) | TEXT,
)


@st.composite
def answers(draw):
    """Mostly well-formed responses, possibly after interim ones."""
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"http/1.1"]) | TEXT)
    status = draw(st.sampled_from([b"100", b"103", b"200", b"204", b"302", b"400", b"401", b"429", b"503"]) | TEXT)
    lines = [version + b" " + status + b" " + draw(TEXT), *(a + b": " + b for a, b in draw(st.lists(HEADER)))]
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3]))
    return interim + b"\r\n".join(lines) + b"\r\n\r\n" + draw(TEXT | st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n"]))


class Server:
    """Answers every connection with `answer`, whatever it receives, and closes it."""

    def __init__(self):
        self.answer = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(1)
                try:
                    peer.recv(65536)
                    peer.sendall(self.answer)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65536):
                        pass
                except OSError:
                    pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.close()


@given(answers() | st.binary(max_size=300))
@example(b"HTTP/1.1 429 x\r\nRetry-After: \xb2\r\n\r\n")
@example(b"HTTP/1.1 503 x\r\nRetry-After: Mon, 01 Jan 0000 00:00:00 -9999\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
@settings(max_examples=300)
def test_any_answer_is_delivery_or_one_clean_error(server, answer):
    server.answer = answer
    sink = Sink(SinkContext("cam-1", "sink", SystemClock()), url=f"http://127.0.0.1:{server.port}/", timeout_s=1.0)
    try:
        assert list(sink.send([MESSAGE])) == [MESSAGE.id]
    except SinkError as exc:
        error = exc
    else:
        error = None
    sink.close()
    assert error is None or str(error).isprintable()
    assert error is None or error.after_s is None or error.after_s >= 0
