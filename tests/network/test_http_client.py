"""HttpClient: one connection for many requests, and limits that hold for header and body."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

import pytest

from edge_app.network.connection import Deadline
from edge_app.network.http_client import HttpClient
from tests.hostile_peers import HostilePeer, body_by_the_byte, huge_body, sends_garbage
from tests.sources.http_camera import Camera


def client_of(peer) -> HttpClient:
    return HttpClient(urlsplit(f"http://127.0.0.1:{peer.port}/"), None)


def read_all(response) -> bytes:
    return b"".join(iter(lambda: response.read1(1000), b""))


def test_requests_share_a_connection():
    with Camera(lambda handler: handler.reply(200, handler.path.encode())) as camera:
        client = client_of(camera)
        assert not client.is_open
        for path in ("/a", "/b"):
            with client.request(path, {}, Deadline(2.0), 10_000) as response:
                assert response.read() == path.encode()
        assert client.is_open
        client.close()
        assert not client.is_open
    assert camera.connections == 1


def test_knows_whether_data_waits():
    with Camera(lambda handler: (handler.start_stream(), handler.camera.go_on.acquire())) as camera:
        client = client_of(camera)
        assert not client.has_data()
        response = client.request("/", {}, Deadline(2.0), 10_000)
        assert not client.has_data()
        camera.go_on.release()  # the server closes the connection
        assert response.read1(10) == b""
        client.close()


def test_new_limits_hold_for_the_rest_of_the_body():
    def answer(handler):
        handler.start_stream()
        handler.wfile.write(b"a" * 5000)

    with Camera(answer) as camera:
        client = client_of(camera)
        response = client.request("/", {}, Deadline(2.0), 3000)
        with pytest.raises(OSError, match="the response is too long"):
            read_all(response)
        client.extend(Deadline(2.0), 10_000)
        assert set(read_all(response)) == set(b"a")
        assert not client.is_open
        client.close()


@pytest.mark.parametrize(
    ("attack", "error"), [(body_by_the_byte, OSError), (huge_body, OSError), (sends_garbage, http.client.HTTPException)]
)
def test_a_hostile_server_meets_the_limits(attack, error):
    with HostilePeer(attack) as peer:
        client, started_s = client_of(peer), time.monotonic()
        with pytest.raises(error):
            read_all(client.request("/", {}, Deadline(0.5), 50_000))
        client.close()
        assert time.monotonic() - started_s < 2.0
