"""The web server over real sockets: its content, live view and access control."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from edge_app import config
from edge_app.config.services import WebConfig
from edge_app.errors import ConfigError
from edge_app.frame import Detections, Frame, HeadOutput
from edge_app.options.secret import Secret
from edge_app.rules import Overlay

aiohttp = pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web import server, viewer  # noqa: E402
from edge_app.web.server import PageServer  # noqa: E402
from tests.web.conftest import STATE, TOKEN, ask, page_data  # noqa: E402


def test_serves_the_page_without_resources_of_other_hosts(page):
    for path, type_ in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, body = ask(page, path)
        assert status == 200
        assert headers["Content-Type"].startswith(type_)
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert b"http://" not in body
        assert b"https://" not in body.replace(b'"https:"', b"")


def test_serves_status_events_snapshots_metrics_and_health(page):
    assert json.loads(ask(page, "/api/status")[2])["frames"] == 7
    (event,) = json.loads(ask(page, "/api/events")[2])
    assert (event["event_id"], event["snapshot"], event["end"]) == ("door-1-1", True, None)
    assert ask(page, "/api/snapshots/door-1-1")[2] == b"\xff\xd8jpeg"
    assert ask(page, "/api/snapshots/other")[0] == 404
    metrics = ask(page, "/metrics")[2].decode()
    assert 'edge_app_sink_queued{sink="mqtt"} 4.0' in metrics
    assert 'edge_app_answers_total{answer="gate"} 5.0' in metrics
    assert 'edge_app_counted_total{camera="yard",count="in",rule="gate"} 12.0' in metrics
    assert "edge_app_temperature_celsius 41.5" in metrics
    assert "edge_app_available_memory_bytes " not in metrics, "unknown values are omitted"
    assert ask(page, "/healthz")[0] == 200


@pytest.mark.parametrize(
    "change", [{"stuck": "x"}, {"faults": {"head:a": {}}}, {"source": {**STATE["source"], "state": "lost"}}]
)
def test_healthz_is_unhealthy_if_any_part_is(change):
    running = PageServer(WebConfig(enabled=True, port=0), page_data({**STATE, **change}))
    assert ask(running, "/healthz")[0] == 503
    running.close()


def frame(number: int, width: int = 1280) -> Frame:
    rng = np.random.default_rng(number)
    result = Frame("camera", number, number * 10**8, 0, rng.integers(0, 255, (720, width, 3), np.uint8))
    box = np.array([[128, 72, 256, 144]], np.float32)
    found = Detections(box, np.array([0.5], np.float32), np.array([1], np.int32))
    result.heads = {"digits": HeadOutput(found)}
    return result


async def view(page: PageServer, pictures: int) -> list[tuple[dict, bytes]]:
    received = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{page.port}/api/live") as ws:
        while len(received) < pictures:
            received.append((json.loads(await ws.receive_str()), await ws.receive_bytes()))
    return received


def feed(page: PageServer, until: threading.Event) -> None:
    number = 0
    while not until.wait(0.02):
        number += 1
        page.submit(frame(number), lambda: [Overlay(((0.1, 0.1), (0.9, 0.9)), "door: 2", rule="door")])


def test_sends_each_image_with_its_results(page):
    import cv2

    done = threading.Event()
    feeder = threading.Thread(target=feed, args=(page, done))
    feeder.start()
    received = asyncio.run(view(page, 5))
    done.set()
    feeder.join()
    numbers = [results["result"]["frame"] for results, _ in received]
    assert numbers == sorted(set(numbers))
    results, jpeg = received[-1]
    assert results["result"]["heads"]["digits"]["detections"] == [
        {"label": "1", "score": 0.5, "box": [0.1, 0.1, 0.2, 0.2]}
    ]
    assert results["overlay"] == [
        {"points": [[0.1, 0.1], [0.9, 0.9]], "text": "door: 2", "closed": False, "alert": False, "rule": "door"}
    ]
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (360, 640, 3)


def test_stores_nothing_without_viewers(page):
    page.submit(frame(1), lambda: pytest.fail("there is no viewer"))
    assert page._live._latest is None


def test_limits_the_number_of_viewers(page):
    async def exceed_the_limit() -> int:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{page.port}/api/live") as plain:
                assert plain.status == 400  # no upgrade
            sockets = [await session.ws_connect(f"http://127.0.0.1:{page.port}/api/live") for _ in range(4)]
            try:
                await session.ws_connect(f"http://127.0.0.1:{page.port}/api/live")
            except aiohttp.WSServerHandshakeError as exc:
                return exc.status
            finally:
                for ws in sockets:
                    await ws.close()
        return 0

    assert asyncio.run(exceed_the_limit()) == 503


def test_drops_a_viewer_that_does_not_read(page, monkeypatch):
    monkeypatch.setattr(viewer, "_SEND_TIMEOUT_S", 0.5)
    handshake = (
        b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", page.port))
        client.sendall(handshake)
        end_s, number = time.monotonic() + 20, 0
        dropped = False
        while not dropped and time.monotonic() < end_s:
            number += 1
            page.submit(frame(number, 1280), list)
            time.sleep(0.02)
            dropped = number > 50 and not page._live.viewers
    assert dropped
    assert ask(page, "/healthz")[0] == 200


# Access control.


def test_a_public_address_requires_a_token(config_file):
    text = "source: {type: synthetic}\nmodel: {path: PROJECT/models/digits}\nweb: {enabled: true, host: 0.0.0.0}\n"
    with pytest.raises(ConfigError, match=r":3: web\.host: found '0\.0\.0\.0', which others can reach"):
        config.load(config_file(text))
    config.load(config_file(text.replace("0.0.0.0", "0.0.0.0, token: 'file:t'")))
    config.load(config_file(text.replace("0.0.0.0", "'::1'")))


def test_rejects_a_short_token_and_a_port_in_use(tmp_path: Path, page):
    (tmp_path / "token").write_text("short", encoding="ascii")
    with pytest.raises(ConfigError, match="fewer than 8 characters"):
        PageServer(WebConfig(enabled=True, port=0, token=Secret("file", str(tmp_path / "token"))), page_data())
    with pytest.raises(ConfigError, match="cannot listen on"):
        PageServer(WebConfig(enabled=True, port=page.port), page_data())


def test_a_silent_name_server_does_not_hold_the_daemon(silent_name_server, monkeypatch):
    monkeypatch.setattr(server, "_LOOKUP_TIMEOUT_S", 0.1)
    with pytest.raises(ConfigError, match=r"cannot listen on peer\.example:0: no answer to the name lookup in time"):
        PageServer(WebConfig(enabled=True, host=silent_name_server, port=0), page_data())


def test_listens_on_a_name(tmp_path):
    page = PageServer(WebConfig(enabled=True, host="localhost", port=0), page_data())
    assert ask(page, "/healthz")[0] in (200, 503)
    page.close()


def test_requires_the_token_if_one_is_configured(guarded):
    for path in ("/api/status", "/api/events", "/api/snapshots/door-1-1", "/metrics", "/api/live"):
        assert ask(guarded, path)[0] == 401, path
    assert ask(guarded, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    status, headers, _ = ask(guarded, "/api/login", "POST", TOKEN)
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    session = cookie.partition(";")[0]
    assert ask(guarded, "/api/status", Cookie=session)[0] == 200
    assert ask(guarded, "/api/logout", "POST", Cookie=session)[0] == 200
    assert ask(guarded, "/api/status", Cookie=session)[0] == 401
    assert ask(guarded, "/")[0] == 200, "the page itself, with the login form"
    assert ask(guarded, "/healthz")[0] == 200


def test_limits_wrong_tokens(guarded):
    answers = [ask(guarded, "/api/login", "POST", f"guess {number}")[0] for number in range(4)]
    answers += [ask(guarded, "/api/status", Authorization="Bearer guess")[0] for _ in range(3)]
    assert answers == [401] * 5 + [429] * 2
    _, headers, _ = ask(guarded, "/api/login", "POST", "guess")
    assert 0 < int(headers["Retry-After"]) <= 60
    assert ask(guarded, "/api/login", "POST", TOKEN)[0] == 200, "a correct token is always accepted"


def test_rejects_other_origins_and_host_names(page, guarded):
    assert ask(page, "/api/status", Origin="http://evil.example")[0] == 403
    assert ask(page, "/api/status", Host="evil.example")[0] == 403
    assert ask(page, "/api/status", Host="localhost:99")[0] == 200
    assert ask(guarded, "/api/login", "POST", TOKEN, Origin="http://evil.example")[0] == 403


def test_close_disconnects_viewers_and_ends_the_thread(tmp_path):
    before = threading.active_count()
    running = PageServer(WebConfig(enabled=True, port=0), page_data())

    async def closed() -> bool:
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(f"http://127.0.0.1:{running.port}/api/live")
            await asyncio.get_running_loop().run_in_executor(None, running.close)
            message = await asyncio.wait_for(ws.receive(), 5)
            return message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

    assert asyncio.run(closed())
    running.close()
    end_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end_s:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_close_ends_all_tasks_of_open_connections(caplog):
    """asyncio would log `Task was destroyed but it is pending!` when a remaining task is garbage-collected."""
    running = PageServer(WebConfig(enabled=True, port=0), page_data())
    requests = (
        b"",
        b"GET / HTTP/1.1\r\nHost: loc",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
    )
    with ExitStack() as stack:
        for request in requests * 10:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
            connection.sendall(request)
        time.sleep(0.3)  # until all are accepted
        running.close()
        assert not running._thread.is_alive()
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_closes_a_connection_that_arrives_while_the_server_stops():
    """Its accept runs in the iteration of the event loop that begins the stop. A leak would be a ResourceWarning."""
    running = PageServer(WebConfig(enabled=True, port=0), page_data())
    both_pending = threading.Event()
    running._loop.call_soon_threadsafe(both_pending.wait)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        running._loop.call_soon_threadsafe(running._stop.set)
        both_pending.set()
        running._thread.join(5)
        assert not running._thread.is_alive()
        with suppress(ConnectionError):
            assert connection.recv(1) == b""
    gc.collect()
