"""The peers of a chaos run: a camera, a broker and its subscriber, an HTTP server, hostile clients of the page."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import paho.mqtt.client as paho

from edge_app.bench.mosquitto import Mosquitto
from tests.running import free_port

_SYSTEM_PYTHON = "/usr/bin/python3"  # GObject bindings are a Debian package, not a wheel
_HANG_S = 6.0  # longer than the timeout of the sink
_SLOW_S = 1.0
Arrive = Callable[[bytes], None]


def has_rtsp_server() -> bool:
    """Whether the Debian packages python3-gi and gir1.2-gst-rtsp-server-1.0 are installed."""
    needs = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    command = [_SYSTEM_PYTHON, "-c", needs]
    return Path(_SYSTEM_PYTHON).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


class Camera:
    """An RTSP server that keeps its port over restarts."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"rtsp://127.0.0.1:{self._port}/test"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [_SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py")), str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class Broker(Mosquitto):
    """Accepted messages survive a restart."""

    def freeze(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None


class Subscriber:
    """A persistent session with QoS 1: everything that the broker has acknowledged arrives, in order."""

    def __init__(self, port: int, arrive: Arrive) -> None:
        versions = getattr(paho, "CallbackAPIVersion", None)
        options = {"client_id": "subscriber", "clean_session": False}
        self._client = paho.Client(*([versions.VERSION2] if versions else []), **options)
        self._client.reconnect_delay_set(1, 1)
        subscribed = threading.Event()
        self._client.on_connect = lambda *_: self._client.subscribe("edge-app/#", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._take(message, arrive)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(5), "no subscription"

    @staticmethod
    def _take(message: paho.MQTTMessage, arrive: Arrive) -> None:
        if "/state/" not in message.topic:  # retained, and not from the outbox
            arrive(message.payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class HttpServer:
    """Accepts batches. mode: `ok`, `slow` (accepts, answers late), `hang`, `reset`, or a status that it answers with.

    A batch arrives if the mode is `ok` or `slow`.
    """

    MODES = ("slow", "hang", "reset", "500", "503", "401", "403", "404", "422", "429")

    def __init__(self, arrive: Arrive) -> None:
        self.mode = "ok"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30.0

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                self.close_connection = len(body) < length  # the client was killed
                if not self.close_connection:
                    outer._answer(self, body, arrive)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self._lock = threading.Lock()
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes, arrive: Arrive) -> None:
        mode = self.mode
        if mode in ("hang", "reset"):
            time.sleep(_HANG_S if mode == "hang" else 0.0)
            handler.close_connection = True
            return
        if mode in ("ok", "slow"):
            with self._lock:
                for message in json.loads(body):
                    arrive(json.dumps(message).encode())
            time.sleep(_SLOW_S if mode == "slow" else 0.0)
        with suppress(OSError):
            handler.send_response(204 if mode in ("ok", "slow") else int(mode))
            if mode == "503":
                handler.send_header("Retry-After", "1")
            handler.send_header("Content-Length", "0")
            handler.end_headers()


class HostileClients:
    """Connections to the page that send what no browser sends, and hold their places until `close`."""

    OPENINGS = (
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\na",
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 8,
    )

    def __init__(self, port: int, number: int, rng: random.Random) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(number):
            with suppress(OSError):
                client = socket.create_connection(("127.0.0.1", port), 0.2)
                self._sockets.append(client)
                client.settimeout(0.2)
                client.sendall(rng.choice(self.OPENINGS))

    def close(self) -> None:
        for client in self._sockets:
            client.close()


def page_answers_in_s(port: int, timeout_s: float = 10.0) -> float | None:
    """How long the page takes to answer one request; None if it does not."""
    began = time.monotonic()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=timeout_s) as response:
            response.read()
    except OSError:
        return None
    return time.monotonic() - began
