"""The fuzz targets: each passes its input to one parser and accepts only the exceptions that the parser documents.

    target(data: bytes) -> None

TARGETS has them by name; corpus/NAME/ has a few valid inputs of each. To add a target, write a function with
`@target(…)` and add its folder; the test and the runner find it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from edge_app import config
from edge_app.backends import _rknn_file
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig
from edge_app.daemon import status_socket
from edge_app.errors import ConfigError, EdgeError, ModelError, SinkError, foreign_text
from edge_app.inference import golden
from edge_app.messages import Encoder, Stamp, decode
from edge_app.model import manifest
from edge_app.outbox import view
from edge_app.outbox.sequence import SequenceNumbers
from edge_app.outbox.store import Store
from edge_app.reuse import cost_file
from edge_app.sinks import SinkContext, _frames
from edge_app.sinks.http import Sink as HttpSink
from edge_app.sinks.mqtt import Sink as MqttSink
from edge_app.sources import _container, _limits
from tests.firmware import device as _updater_path  # noqa: F401  makes the updater's modules importable
from tests.fuzz import peers

import bundle  # isort: skip
import device  # isort: skip
import state  # isort: skip
import trial  # isort: skip

PROJECT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
_MIB = 1 << 20


def target(*allowed: type[Exception]) -> Callable[[Target], Target]:
    """Register a target. allowed: the exceptions that its parser may raise for bad input."""

    def register(function: Target) -> Target:
        @functools.wraps(function)
        def run(data: bytes) -> None:
            with contextlib.suppress(*allowed):
                function(data)

        TARGETS[function.__name__] = run
        return run

    return register


def seeds(name: str) -> list[bytes]:
    """The corpus of a target, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@functools.cache
def _folder(name: str) -> Path:
    """A temporary folder of one target, removed at exit."""
    made = tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-")
    _KEPT.append(made)
    return Path(made.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _file(name: str, data: bytes, file: str = "input") -> Path:
    path = _folder(name) / file
    path.write_bytes(data)
    return path


# Files that a user writes.


@target(EdgeError)
def config_file(data: bytes) -> None:
    config.load(_file("config", data.replace(b"PROJECT", str(PROJECT).encode()), "config.yaml"))


@target(ModelError)
def model_manifest(data: bytes) -> None:
    _file("manifest", data, manifest.FILE)
    manifest.load(_folder("manifest"))


@target(ConfigError)
def stored_costs(data: bytes) -> None:
    cost_file.load(_file("costs", data))


# Files of a model, and pictures and clips.


@target(ModelError)
def rknn_header(data: bytes) -> None:
    _rknn_file.parse(data, Path("model.rknn"))


@target(EdgeError)
def golden_file(data: bytes) -> None:
    _replay(data)


@target(EdgeError)
def golden_array(data: bytes) -> None:
    """The input is one array of an archive that is otherwise valid."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("image.npy", data)
        file.writestr("scene/scores.npy", _NO_SCORES)
    _replay(archive.getvalue())


_NO_SCORES = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".ljust(117) + b"\n" + bytes(8)
)


def _replay(data: bytes) -> None:
    loaded = _tiny_model()
    (loaded.manifest.folder / manifest.GOLDEN).write_bytes(data)
    list(golden.replay(loaded))


@functools.cache
def _tiny_model() -> config.Config:
    from tests.system.test_daemon_soak import tiny_model  # needs onnx

    folder = _folder("golden")
    tiny_model(folder / "model")
    text = f"source: {{type: synthetic}}\nmodel: {{path: {folder}/model, backend: onnx}}\nheads: {{scene: {{}}}}\n"
    return config.load(_file("golden", f"{text}sinks: [{{type: memory}}]\n".encode()))


@target()
def declared_size(data: bytes) -> None:
    size = _limits.declared_size(data)
    assert size is None or all(isinstance(n, int) for n in size)


@target()
def video_container(data: bytes) -> None:
    path = _file("video", data)
    assert _container.missing_bytes(path) >= 0
    assert _container.why_unreadable(path)


# What peers send.


@target(_frames.BrokenFrame)
def serial_frame(data: bytes) -> None:
    """Also: every frame that is accepted is encoded to the same bytes."""
    for piece in _frames.Splitter(4096).feed(data + b"\0"):
        frame = _frames.unpack(piece)
        assert _frames.unpack(_frames.pack(frame).strip(b"\0")) == frame


@functools.cache
def _peer() -> peers.Answering:
    return peers.on_loopback()


_CONTEXT = SinkContext("cam-1", "fuzz", SystemClock())
_MESSAGE = Encoder("cam-1", "boot", {}).status(1, Stamp(1, 1_700_000_000_000_000_000, True), {"up": 1})


@target(SinkError)
def http_answer(data: bytes) -> None:
    _peer().reply = data
    sink = HttpSink(_CONTEXT, url=f"http://127.0.0.1:{_peer().port}/", timeout_s=1.0)
    try:
        sink.send([_MESSAGE])
    finally:
        sink.close()


@target(SinkError)
def mqtt_packets(data: bytes) -> None:
    """The input is all that the broker sends."""
    _talk(data)


@target(SinkError)
def mqtt_message(data: bytes) -> None:
    """The input is the payload of a message on Home Assistant's topic."""
    body = len(b"homeassistant/status").to_bytes(2, "big") + b"homeassistant/status" + data
    _talk(b"\x20\x02\0\0" + b"\x30" + _remaining_length(len(body)) + body)


def _talk(data: bytes) -> None:
    _peer().reply = data
    sink = MqttSink(_CONTEXT, host="127.0.0.1", port=_peer().port, ack_timeout_s=0.5, home_assistant=True)
    end = time.monotonic() + 0.5
    try:
        while time.monotonic() < end:
            sink.idle()  # raises SinkError once the peer has closed
    finally:
        sink.close()


def _remaining_length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (128 if number else 0))
        if not number:
            return bytes(out)


@target(ConfigError)
def status_answer(data: bytes) -> None:
    _status_peer().reply = data
    status_socket.as_table(status_socket.request_status(_folder("status")))


@functools.cache
def _status_peer() -> peers.Answering:
    return peers.on_path(str(_folder("status") / status_socket.FILE))


@target()
def foreign_message(data: bytes) -> None:
    text = foreign_text(data.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    assert len(text) <= 201


# Our own files, damaged.


@target(ValueError)
def stored_message(data: bytes) -> None:
    decode(data)


@target(sqlite3.Error)
def outbox_file(data: bytes) -> None:
    for path in _folder("outbox").glob("outbox.db*"):
        path.unlink()
    path = _file("outbox", data, "outbox.db")
    store = Store(path, round(OutboxConfig().max_mb * 1e6))
    try:
        store.cursors(), store.first_position(), store.last_position(), store.gap(), store.refused()
        for row in store.read(0, 1 << 40, 500, _MIB):
            stored_message(row.payload or b"")
    finally:
        store.close()


@target(ConfigError)
def outbox_view(data: bytes) -> None:
    for path in _folder("view").glob("outbox.db*"):
        path.unlink()
    _file("view", data, "outbox.db")
    view.stats(_folder("view"))
    for refused in (False, True):
        list(view.messages(_folder("view"), refused=refused))


@target()
def sequence_file(data: bytes) -> None:
    numbers = SequenceNumbers(_file("sequence", data, "sequence"))
    first = numbers.next_number()
    assert 0 <= first < numbers.next_number() < 1 << 53


# What the updater reads.


@target(bundle.UpdateError)
def bundle_header(data: bytes) -> None:
    bundle.open_signed(io.BytesIO(data), [])


@target(bundle.UpdateError)
def bundle_manifest(data: bytes) -> None:
    bundle.parse(data)


@target(bundle.UpdateError)
def bundle_payload(data: bytes) -> None:
    """The payload of a bundle with one file of 64 bytes."""
    entry = bundle.Entry("start", 64, hashlib.sha256(bytes(64)).hexdigest(), True)
    digest = hashlib.sha256(data).hexdigest()
    listed = bundle.Manifest("1.0", "amd64", "1.0", False, {}, len(data), digest, (entry,))
    bundle.verify_payload(bundle.Bundle(io.BytesIO(data), listed, b"", 0))


@target(ValueError)
def updater_state(data: bytes) -> None:
    found = state.read(_file("state", data))
    assert found.chosen is None or isinstance(found.chosen, str)


@target()
def updater_health(data: bytes) -> None:
    found = trial.read_health(_file("health", data))
    assert found is None or found[0] in ("healthy", "failed", "waiting")


@target(bundle.UpdateError)
def updater_device(data: bytes) -> None:
    _file("device", data, "device.json")
    device.read(_folder("device"))
