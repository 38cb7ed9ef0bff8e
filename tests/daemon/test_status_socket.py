"""The client of the status socket, against a hostile daemon."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from edge_app.daemon import status_socket
from edge_app.daemon.status_socket import FILE, StatusSocket, as_table, request_status
from edge_app.errors import ConfigError


def answer(folder: Path, data: bytes, times: int = 1) -> threading.Thread:
    """A daemon that sends data, several times, with 0.1 s between."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / FILE))
    listening.listen(1)

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            for _ in range(times):
                try:
                    connection.sendall(data)
                except OSError:
                    return
                if times > 1:
                    time.sleep(0.1)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"1", b"\xff", b"{", b"[" * 100_000, b'{"a":' * 5000, b"9" * 5000]
)
def test_rejects_an_answer_that_is_not_a_status(tmp_path: Path, data):
    daemon = answer(tmp_path, data)
    with pytest.raises(ConfigError, match="not a status"):
        request_status(tmp_path)
    daemon.join()


@pytest.mark.parametrize(("data", "times"), [(b"x" * 2_000_000, 1), (b" ", 100)])
def test_bounds_an_answer_in_size_and_time(tmp_path: Path, monkeypatch, data, times):
    monkeypatch.setattr(status_socket, "_TIMEOUT_S", 0.5)
    daemon = answer(tmp_path, data, times)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="does not end"):
        request_status(tmp_path)
    assert time.monotonic() - began < 5
    daemon.join()


def test_shows_no_control_characters(tmp_path: Path):
    daemon = answer(tmp_path, json.dumps({"a\x1b": "b\x9b31m", "c": [{"name": "d\n", "e": "\ud800"}]}).encode())
    status = request_status(tmp_path)
    daemon.join()
    assert status == {"a?": "b?31m", "c": [{"name": "d ", "e": "?"}]}
    assert all(line.isprintable() for line in as_table(status).splitlines())


def test_sends_the_status_to_each_client(tmp_path: Path):
    running = StatusSocket(tmp_path, lambda: {"frames": 7})
    assert [request_status(tmp_path) for _ in range(3)] == [{"frames": 7}] * 3
    running.close()
    with pytest.raises(ConfigError, match="no daemon answers"):
        request_status(tmp_path)
