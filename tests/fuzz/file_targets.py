"""Targets that read files: of users, of a model, of our own, of the updater."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import sqlite3
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from edge_app import config, gallery
from edge_app.backends import _rknn_file
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig
from edge_app.errors import ConfigError, EdgeError, ModelError
from edge_app.inference import golden
from edge_app.messages import Message, decode
from edge_app.model import manifest
from edge_app.outbox import Outbox, view
from edge_app.outbox.disk import Disk, DiskUnavailable, FileDamaged
from edge_app.outbox.event_log import EventLog
from edge_app.outbox.gap import Gap
from edge_app.outbox.sequence import SequenceNumbers
from edge_app.outbox.store import Row, Store
from edge_app.publish.open_events import end_left_open
from edge_app.reuse import cost_file
from edge_app.sources import _container, _limits
from edge_app.totals import store as totals
from tests.firmware import device as _updater_path  # noqa: F401  makes the updater's modules importable
from tests.fuzz.registry import folder, target, write

import bundle  # isort: skip
import device  # isort: skip
import state  # isort: skip
import trial  # isort: skip

PROJECT = Path(__file__).parents[2]
_MIB = 1 << 20


# Files that a user writes.


@target(EdgeError)
def config_file(data: bytes) -> None:
    config.load(write("config", data.replace(b"PROJECT", str(PROJECT).encode()), "config.yaml"))


@target(ModelError)
def model_manifest(data: bytes) -> None:
    write("manifest", data, manifest.FILE)
    manifest.load(folder("manifest"))


@target(ConfigError)
def gallery_file(data: bytes) -> None:
    """Also with a correct hash, which an attacker can compute."""
    path = write("gallery", data)
    gallery.load(path, None)
    mark = b"edge-app gallery 1\n"
    content = data.removeprefix(mark)[32:]
    path.write_bytes(mark + hashlib.sha256(content).digest() + content)
    gallery.load(path, None)


@target(ConfigError)
def stored_costs(data: bytes) -> None:
    cost_file.load(write("costs", data))


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

    root = folder("golden")
    tiny_model(root / "model")
    text = f"source: {{type: synthetic}}\nmodel: {{path: {root}/model, backend: onnx}}\nheads: {{scene: {{}}}}\n"
    return config.load(write("golden", f"{text}sinks: [{{type: memory}}]\n".encode()))


@target()
def declared_size(data: bytes) -> None:
    size = _limits.declared_size(data)
    assert size is None or all(isinstance(n, int) for n in size)


@target()
def video_container(data: bytes) -> None:
    path = write("video", data)
    assert _container.missing_bytes(path) >= 0
    assert _container.why_unreadable(path)
    assert _container.lists_frames(path) in (True, False)
    assert _container.is_raw(path) in (True, False)
    assert (_container.edited_s(path) or 0) >= 0


# Our own files, damaged.


@target(ValueError)
def stored_message(data: bytes) -> None:
    decode(data)


@target(DiskUnavailable, FileDamaged)
def outbox_file(data: bytes) -> None:
    for path in folder("outbox").glob("outbox.db*"):
        path.unlink()
    write("outbox", data, "outbox.db")
    disk = Disk(folder("outbox"), round(OutboxConfig().max_mb * 1e6))
    try:
        rows = disk.run(_read_all)
    finally:
        disk.close()
    for row in rows:
        stored_message(row.payload or b"")


def _read_all(store: Store) -> list[Row]:
    store.cursors(), store.first_position(), store.last_position(), store.refused()
    with contextlib.suppress(ValueError):  # as in LossLog.load
        Gap.from_json(store.gap())
    return store.read(0, 1 << 40, 500, _MIB)


@target(ConfigError)
def outbox_view(data: bytes) -> None:
    for path in folder("view").glob("outbox.db*"):
        path.unlink()
    write("view", data, "outbox.db")
    view.stats(folder("view"))
    for refused in (False, True):
        list(view.messages(folder("view"), refused=refused))


@target()
def sequence_file(data: bytes) -> None:
    numbers = SequenceNumbers(write("sequence", data, "sequence"))
    first = numbers.next_number()
    assert 0 <= first < numbers.next_number() < 1 << 53


@target()
def open_event_log(data: bytes) -> None:
    """Each line of the input gets a checksum, and the input as it is follows. All that can be ended, ends."""
    lines = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in data.split(b"\n"))
    log = EventLog(write("events", lines + data, "open-events.log"))
    put: list[Message] = []
    try:
        outbox = SimpleNamespace(stored_ids=frozenset, put=lambda make: put.append(make(len(put))))
        end_left_open(log, cast(Outbox, outbox), SystemClock())
    finally:
        log.close()
    for message in put:
        assert decode(message.payload).kind == "event"


@target(sqlite3.Error, UnicodeError, OverflowError, MemoryError)
def totals_file(data: bytes) -> None:
    for path in folder("totals").glob("totals.db*"):
        path.unlink()
    path = write("totals", data, "totals.db")
    for span in ("total", "day", "hour", "undated"):
        totals.read(path, span)
    store = totals.Store(path)
    try:
        store.current("yard", 20261126, 0)
        store.add({totals.Bucket("yard", "door", "in", "total"): 1}, 1_790_000_000)
    finally:
        store.close()


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
    found = state.read(write("state", data))
    assert found.chosen is None or isinstance(found.chosen, str)


@target()
def updater_health(data: bytes) -> None:
    found = trial.read_health(write("health", data))
    assert found is None or found[0] in ("healthy", "failed", "waiting")


@target(bundle.UpdateError)
def updater_device(data: bytes) -> None:
    write("device", data, "device.json")
    device.read(folder("device"))
