"""The HTTP sink against a real server that behaves, refuses, hangs and lies."""

import json
import random
import ssl
import subprocess
import threading
import time
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_app.backoff import Backoff
from edge_app.config import Outbox as Limits
from edge_app.delivery import Delivery
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox, view
from edge_app.secret import Secret
from edge_app.sinks.http import Sink


class Server:
    """Answers as `answers` says, in turn (then 204): a status, or (status, headers), or a function of the handler."""

    def __init__(self, context=None):
        self.answers = []
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                answer = outer.answers.pop(0) if outer.answers else 204
                if callable(answer):
                    answer(self)
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


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


def test_the_key_is_the_same_for_the_same_batch_only(sink, server, message):
    batches = [[message(1), message(2)], [message(1), message(2)], [message(1), message(3)], [message(7)]]
    for batch in batches:
        sink.send(batch)
    keys = [headers["Idempotency-Key"] for _, headers, _ in server.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[3] == "cam-1-7", "of one message its id"


@pytest.mark.parametrize(
    ("answer", "retry", "after_s"),
    [
        (503, True, None),
        (500, True, None),
        (408, True, None),
        ((429, {"Retry-After": "7"}), True, 7.0),
        ((503, {"Retry-After": "soon"}), True, None),
        (400, False, None),
        (404, False, None),
        (422, False, None),
        ((302, {"Location": "/elsewhere"}), True, None),
    ],
)
def test_answers(sink, server, message, answer, retry, after_s):
    server.answers = [answer]
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    assert (error.value.retry, error.value.after_s) == (retry, after_s)
    assert sink.send([message(1)]) == ["cam-1-1"], "and then goes on"


def test_retry_after_a_date(sink, server, message, context):
    from datetime import datetime, timedelta, timezone

    server.answers = [(429, {"Retry-After": format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30))})]
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    if context.clock.synced():
        assert 28 <= error.value.after_s <= 30
    else:
        assert error.value.after_s is None, "a date means nothing before the clock is set"


def test_a_server_that_hangs(sink, server, message):
    server.answers = [lambda handler: time.sleep(1.0)]
    started = time.monotonic()
    with pytest.raises(SinkError, match="no answer in time") as error:
        sink.send([message(1)])
    assert error.value.retry
    assert time.monotonic() - started < 0.9


def test_an_endless_answer_is_not_read(sink, server, message):
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


def test_something_that_is_not_http(context, message):
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
        with pytest.raises(SinkError, match="not an HTTP answer"):
            sink.send([message(1)])
        thread.join()


def test_an_idle_connection_that_was_closed_is_made_again(sink, server, message):
    def close(handler):
        handler.send_response(204)
        handler.end_headers()
        handler.connection.close()
        handler.close_connection = True

    server.answers = [close]
    sink.send([message(1)])
    time.sleep(0.1)
    assert sink.send([message(2)]) == ["cam-1-2"]


def test_nobody_listens(context, message):
    sink = Sink(context, url="http://127.0.0.1:9/")
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:9: Connection refused") as error:
        sink.send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "a.b.c", "http://a:99999/", "http://user:pass@host/"])
def test_a_wrong_url_is_refused_without_repeating_it(context, url):
    with pytest.raises(ConfigError, match="url") as error:
        Sink(context, url=url)
    assert "pass@" not in str(error.value)


def test_a_header_cannot_smuggle_another(context):
    with pytest.raises(ConfigError, match=r"headers\.X: expected ASCII on one line"):
        Sink(context, url="http://a/", headers={"X": "a\r\nY: b"})


def test_the_token_is_sent_and_read_again(context, server, message, tmp_path, monkeypatch):
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


# TLS: certificates made here, by the openssl program, as an operator would.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem, other-ca.pem, and <name>.pem / .key: server, elsewhere, expired, future, client."""
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other-ca"):
        run(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
            "-subj",
            f"/CN={ca}",
        )
    dates = {"expired": ("20200101000000Z", "20200201000000Z"), "future": ("20400101000000Z", "20410101000000Z")}
    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndir=.\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n"
        "policy=p\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n"
    )
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    for name in ("server", "elsewhere", "expired", "future", "client"):
        host = "DNS:elsewhere.example" if name == "elsewhere" else "IP:127.0.0.1"
        run(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName={host}",
        )
        start, end = dates.get(name, ("20240101000000Z", "20391231000000Z"))
        run(
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.conf",
            "-cert",
            "ca.pem",
            "-keyfile",
            "ca.key",
            "-in",
            f"{name}.csr",
            "-out",
            f"{name}.pem",
            "-startdate",
            start,
            "-enddate",
            end,
        )
    return folder


@pytest.fixture
def secure(certificates):
    servers = []

    def start(name="server", client_ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        if client_ca:
            context.load_verify_locations(certificates / client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        servers.append(Server(context))
        return f"https://127.0.0.1:{servers[-1].port}/"

    yield start
    for server in servers:
        server.close()


def test_tls_with_our_authority(context, message, secure, certificates):
    sink = Sink(context, url=secure(), ca=certificates / "ca.pem")
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()


def test_tls_with_a_client_certificate(context, message, secure, certificates):
    url = secure(client_ca="ca.pem")
    ours = {"cert": certificates / "client.pem", "key": certificates / "client.key"}
    sink = Sink(context, url=url, ca=certificates / "ca.pem", **ours)
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()
    with pytest.raises(SinkError) as error:
        Sink(context, url=url, ca=certificates / "ca.pem").send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize(
    ("name", "ca", "reason"),
    [
        ("server", "other-ca.pem", "is not trusted"),
        ("server", None, "is not trusted"),
        ("elsewhere", "ca.pem", "is for another host"),
        ("expired", "ca.pem", "has expired"),
        ("future", "ca.pem", "is not yet valid"),
    ],
)
def test_tls_is_always_verified(context, message, secure, certificates, name, ca, reason):
    sink = Sink(context, url=secure(name), ca=ca and certificates / ca)
    with pytest.raises(SinkError, match=reason) as error:
        sink.send([message(1)])
    assert error.value.retry


def test_a_clock_that_is_not_set_is_told_apart(message, secure, certificates):
    from edge_app.clock import ClipClock
    from edge_app.sinks import SinkContext

    sink = Sink(SinkContext("cam-1", "sink", ClipClock()), url=secure("future"), ca=certificates / "ca.pem")
    with pytest.raises(SinkError, match=r"the clock here is not set yet \(1970-01-01\)$"):
        sink.send([message(1)])


def test_tls_files_that_do_not_fit(context, certificates):
    url = "https://127.0.0.1/"
    with pytest.raises(ConfigError, match="does not belong to"):
        Sink(context, url=url, cert=certificates / "client.pem", key=certificates / "server.key")
    with pytest.raises(ConfigError, match="No such file"):
        Sink(context, url=url, ca=Path("/none.pem"))
    with pytest.raises(ConfigError, match="expected both or neither"):
        Sink(context, url=url, cert=certificates / "client.pem")


def test_what_the_server_answers_decides_what_happens_to_a_message(server, context, tmp_path):
    """503, 429 with a time, 400 for one message, a hang: through the outbox and its worker."""
    clock = context.clock
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n):
        return encoder.status(seq, Stamp(n, n, True), {"n": n})

    box = Outbox(tmp_path, ["http"], Limits(), clock, lambda seq, tally: status(seq, -1))
    for n in range(60):
        box.put(lambda seq, n=n: status(seq, n))
    stored = []

    def take(handler):
        body = [message["status"]["n"] for message in json.loads(server.requests[-1][2])]
        code = 400 if 17 in body else 204
        if code == 204:
            stored.extend(body)
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = [503, (429, {"Retry-After": "1"}), lambda handler: time.sleep(0.6), *[take] * 100]
    sink = Sink(context, url=f"http://127.0.0.1:{server.port}/", timeout_s=0.3, batch=20)
    delivery = Delivery("http", sink, box, clock, backoff=Backoff(0.01, 0.05), rng=random.Random(1))
    started = time.monotonic()
    delivery.start()
    while box.stats().queued["http"]:
        assert time.monotonic() - started < 20
        time.sleep(0.02)
    assert time.monotonic() - started > 1.3, "Retry-After and the timeout were waited for"
    assert stored == [n for n in range(60) if n != 17]
    assert delivery.refused == 1
    delivery.stop()
    box.drain()
    delivery.join(5)
    box.close()
    (refused,) = [json.loads(line) for line in view.messages(tmp_path, refused=True)]
    assert refused["message"]["status"]["n"] == 17
    assert refused["reason"].endswith("400 Bad Request")
