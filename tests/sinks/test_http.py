"""The HTTP sink against a real server that responds, refuses, hangs and misbehaves."""

import json
import random
import threading
import time
from email.utils import format_datetime

import pytest

from edge_app.backoff import Backoff
from edge_app.config import OutboxConfig as Limits
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.options.secret import Secret
from edge_app.outbox import Outbox, view
from edge_app.publish.delivery import Delivery
from edge_app.sinks.http import Sink
from tests.sinks.http_server import Server


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def sink(context, server):
    made = Sink(context, url=f"http://127.0.0.1:{server.port}/in?site=1", timeout_s=0.5)
    yield made
    made.close()


def test_posts_a_batch_as_an_array(sink, server, message):
    assert sink.send([message(1), message(2)]) == ["cam-1-1", "cam-1-2"]
    path, headers, body = server.requests[0]
    assert path == "/in?site=1"
    assert headers["Content-Type"] == "application/json"
    assert [m["seq"] for m in json.loads(body)] == [1, 2]


def test_the_idempotency_key_identifies_the_batch(sink, server, message):
    batches = [[message(1), message(2)], [message(1), message(2)], [message(1), message(3)], [message(7)]]
    for batch in batches:
        sink.send(batch)
    keys = [headers["Idempotency-Key"] for _, headers, _ in server.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[3] == "cam-1-7", "for one message: its id"


@pytest.mark.parametrize(
    ("answer", "retry", "after_s"),
    [
        (503, True, None),
        (500, True, None),
        (408, True, None),
        ((429, {"Retry-After": "7"}), True, 7.0),
        ((503, {"Retry-After": "soon"}), True, None),
        (401, True, None),
        (403, True, None),
        (404, True, None),
        (405, True, None),
        (407, True, None),
        ((401, {"Retry-After": "20"}), True, 20.0),
        (400, False, None),
        (409, False, None),
        (413, False, None),
        (422, False, None),
        ((302, {"Location": "/elsewhere"}), True, None),
    ],
)
def test_the_status_decides_about_a_retry(sink, server, message, answer, retry, after_s):
    server.answers = [answer]
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    assert (error.value.retry, error.value.after_s) == (retry, after_s)
    assert sink.send([message(1)]) == ["cam-1-1"], "the sink can be used again"


def test_retry_after_may_be_a_date(sink, server, message, context):
    from datetime import datetime, timedelta, timezone

    server.answers = [(429, {"Retry-After": format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30))})]
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    if context.clock.synced():
        assert 28 <= error.value.after_s <= 30
    else:
        assert error.value.after_s is None, "a date is useless before the clock is set"


def test_a_hanging_server_times_out(sink, server, message):
    server.answers = [lambda handler: time.sleep(1.0)]
    started = time.monotonic()
    with pytest.raises(SinkError, match="no answer in time") as error:
        sink.send([message(1)])
    assert error.value.retry
    assert time.monotonic() - started < 0.9


def test_an_endless_response_is_not_read(sink, server, message):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    server.answers = [endless]
    assert sink.send([message(1)]) == ["cam-1-1"]
    assert sink.send([message(2)]) == ["cam-1-2"]


def test_a_response_that_is_not_http(context, message):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            peer, _ = listener.accept()
            peer.recv(4096)
            peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            peer.close()

        thread = threading.Thread(target=answer)
        thread.start()
        sink = Sink(context, url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(SinkError, match="not an HTTP response"):
            sink.send([message(1)])
        thread.join()


def test_reconnects_if_the_idle_connection_was_closed(sink, server, message):
    def close(handler):
        handler.send_response(204)
        handler.end_headers()
        handler.connection.close()
        handler.close_connection = True

    server.answers = [close]
    sink.send([message(1)])
    time.sleep(0.1)
    assert sink.send([message(2)]) == ["cam-1-2"]


def test_connection_refused(context, message):
    sink = Sink(context, url="http://127.0.0.1:9/")
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:9: Connection refused") as error:
        sink.send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "a.b.c", "http://a:99999/", "http://user:pass@host/"])
def test_rejects_a_wrong_url_without_printing_its_password(context, url):
    with pytest.raises(ConfigError, match="url") as error:
        Sink(context, url=url)
    assert "pass@" not in str(error.value)


def test_rejects_a_header_with_a_line_break(context):
    with pytest.raises(ConfigError, match=r"headers\.X: expected ASCII on one line"):
        Sink(context, url="http://a/", headers={"X": "a\r\nY: b"})


def test_the_token_is_read_for_each_request(context, server, message, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text("first\n")
    sink = Sink(context, url=f"http://127.0.0.1:{server.port}/", token=Secret("credential", "token"))
    sink.send([message(1)])
    (tmp_path / "token").write_text("second\n")
    sink.send([message(2)])
    sent = [headers["Authorization"] for _, headers, _ in server.requests]
    assert sent == ["Bearer first", "Bearer second"]
    (tmp_path / "token").unlink()
    with pytest.raises(SinkError, match="credential:token: cannot be read") as error:
        sink.send([message(3)])
    assert error.value.retry
    sink.close()


def test_a_header_is_not_shown_if_the_server_repeats_it(context, server, message):
    sink = Sink(context, url=f"http://127.0.0.1:{server.port}/", headers={"X-Api-Key": "hunter2-hunter2"})

    def repeat(handler):
        handler.send_response(403, f"no {handler.headers['X-Api-Key']}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = [repeat]
    with pytest.raises(SinkError, match="403 no …") as error:
        sink.send([message(1)])
    assert "hunter2" not in str(error.value)
    sink.close()


def test_nothing_is_lost_while_a_token_is_renewed(context, server, tmp_path):
    token = tmp_path / "token"
    token.write_text("expired")
    clock, delivered = context.clock, []
    encoder = Encoder("cam-1", clock.boot_id, {})

    def answer_post(handler):
        if handler.headers["Authorization"] == "Bearer renewed":
            delivered.extend(message["status"]["n"] for message in json.loads(server.requests[-1][2]))
            handler.send_response(204)
        else:
            handler.send_response(random.Random(len(server.requests)).choice([401, 403]))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = [answer_post] * 1000
    sink = Sink(context, url=f"http://127.0.0.1:{server.port}/", token=Secret("file", str(token)), batch=20)
    box = Outbox(tmp_path / "state", ["http"], Limits(), clock, lambda seq, gap: pytest.fail("lost something"))
    delivery = Delivery("http", sink, box, clock, backoff=Backoff(0.01, 0.02), rng=random.Random(1))
    delivery.start()
    for n in range(316):
        box.put(lambda seq, n=n: encoder.status(seq, Stamp(n, n, True), {"n": n}))
        if n == 200:
            while delivery.failed < 3:
                time.sleep(0.01)
            assert "40" in delivery.last_error
            token.write_text("renewed\n")
    end = time.monotonic() + 10
    while box.stats().queued["http"] and time.monotonic() < end:
        time.sleep(0.01)
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()
    assert delivered == list(range(316))
    assert delivery.refused == 0


def test_retries_and_refused_messages_through_the_outbox(server, context, tmp_path):
    """The server responds 503, 429 with Retry-After, hangs, then refuses one message with 400."""
    clock = context.clock
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n):
        return encoder.status(seq, Stamp(n, n, True), {"n": n})

    gaps = []
    box = Outbox(tmp_path, ["http"], Limits(), clock, lambda seq, gap: gaps.append(gap) or status(seq, -1))
    for n in range(60):
        box.put(lambda seq, n=n: status(seq, n))
    stored = []

    def answer_post(handler):
        body = [message["status"]["n"] for message in json.loads(server.requests[-1][2])]
        code = 400 if 17 in body else 204
        if code == 204:
            stored.extend(body)
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = [503, (429, {"Retry-After": "1"}), lambda handler: time.sleep(0.6), *[answer_post] * 100]
    sink = Sink(context, url=f"http://127.0.0.1:{server.port}/", timeout_s=0.3, batch=20)
    delivery = Delivery("http", sink, box, clock, backoff=Backoff(0.01, 0.05), rng=random.Random(1))
    started = time.monotonic()
    delivery.start()
    while box.stats().queued["http"] or not gaps:
        assert time.monotonic() - started < 20
        time.sleep(0.02)
    assert time.monotonic() - started > 1.3, "waited for Retry-After and the timeout"
    assert stored == [*(n for n in range(60) if n != 17), -1], "the last one is the gap record"
    assert delivery.refused == 1
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()
    assert gaps[0]["lost"]["status"] == 1
    assert gaps[0]["reasons"] == [f"refused by sink 'http': 127.0.0.1:{server.port}: 400 Bad Request"]
    (refused,) = [json.loads(line) for line in view.messages(tmp_path, refused=True)]
    assert refused["message"]["status"]["n"] == 17
    assert refused["reason"].endswith("400 Bad Request")
