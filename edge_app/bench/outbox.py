"""bench outbox: the cost of the durable queue: bytes written, syncs, CPU time of the pipeline's thread, drain rate.

Each figure comes from its own process (outbox_load.py). strace counts syncs, if it is installed. Drains alternate with
those of the public persist-queue, on the same broker.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edge_app import config
from edge_app.bench import outbox_load, tables
from edge_app.bench.mosquitto import Mosquitto
from edge_app.clock import SystemClock
from edge_app.frame import Frame
from edge_app.messages import Encoder
from edge_app.options.extras import install

_RATE = 5  # messages per second
_SYNCS = "fsync,fdatasync,sync_file_range,msync"


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: length of a publishing run. messages: per drain. rounds: interleaved drains; the median counts."""

    seconds: int = 30
    messages: int = 20_000
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Report:
    """None: could not be measured (no strace, no persist-queue).

    messages_per_s: drained at QoS 1 and acknowledged; peer: persist-queue; *_syncs: per 1000 drained messages.
    handover_us: CPU time of the pipeline's thread in `publish_frame` for a result with three detections: the median of
    calls in quick succession, the lowest of five series. encode_us: the JSON encoding in it. handover_cold_us: each
    call after 10 ms of sleep, with cold processor caches.
    bytes_per_message, syncs_per_s: messages of 300 B at 5 per second while the broker is unreachable; healthy_*: while
    it is reachable. Bytes include those written on closing.
    """

    messages_per_s: float
    peer_per_s: float | None
    ratio: float | None
    drain_syncs: float | None
    peer_syncs: float | None
    handover_us: float
    handover_cold_us: float
    encode_us: float
    bytes_per_message: float
    syncs_per_s: float | None
    healthy_bytes_per_message: float
    healthy_syncs_per_s: float | None


def bench(plan: Plan) -> Report:
    """Measure. Raises ConfigError if Mosquitto is not installed."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-outbox-") as name:  # not in /tmp, which may be memory
        folder = Path(name)
        with Mosquitto(folder) as broker:
            encode, handover, cold = _handover(folder / "handover", broker.port)
            ours, theirs = _drains(folder, broker.port, plan)
            healthy = _run(folder / "healthy", "publish", broker.port, _RATE * plan.seconds, syncs=True)
            drained = _run(folder / "drained", "drain", broker.port, plan.messages // 4, syncs=True)
            peer = _run(folder / "peer", "peer", broker.port, plan.messages // 20, syncs=True) if theirs else None
        away = _run(folder / "away", "publish", _closed_port(), _RATE * plan.seconds, syncs=True)
    return Report(
        messages_per_s=round(ours),
        peer_per_s=None if theirs is None else round(theirs),
        ratio=None if theirs is None else round(ours / theirs, 2),
        drain_syncs=_per(drained.syncs, drained.messages / 1000),
        peer_syncs=None if peer is None else _per(peer.syncs, peer.messages / 1000),
        handover_us=round(handover, 1),
        handover_cold_us=round(cold, 1),
        encode_us=round(encode, 1),
        bytes_per_message=round(away.bytes / away.messages),
        syncs_per_s=_per(away.syncs, away.seconds),
        healthy_bytes_per_message=round(healthy.bytes / healthy.messages),
        healthy_syncs_per_s=_per(healthy.syncs, healthy.seconds),
    )


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    return tables.field_table(report)


@dataclass(frozen=True, slots=True)
class _Load:
    """The output of one process of outbox_load.py."""

    messages: int
    seconds: float
    bytes: int = 0
    syncs: int | None = None


def _run(folder: Path, mode: str, port: int, count: int, *, syncs: bool = False) -> _Load:
    """Run one measured process. syncs: count them with strace, which slows it down slightly."""
    folder.mkdir()
    counts = folder.with_suffix(".strace")
    command = [sys.executable, "-m", outbox_load.__name__, mode, str(folder), str(port), str(count), str(_RATE)]
    strace = shutil.which("strace") if syncs else None
    if strace is not None:
        command = [strace, "-f", "-qq", "-ttt", "--seccomp-bpf", "-e", f"trace={_SYNCS}", "-o", str(counts), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    load = json.loads(done.stdout)
    lines = counts.read_text(encoding="utf-8").splitlines() if strace is not None else None
    number = None if lines is None else sum(_is_sync(line, load["from"], load["to"]) for line in lines)
    return _Load(int(load["messages"]), load["seconds"], int(load.get("bytes", 0)), number)


def _is_sync(line: str, from_s: float, to_s: float) -> bool:
    """Whether a line of strace is a sync that began between two times (UNIX seconds)."""
    fields = line.split(maxsplit=2)  # process, time, call
    return len(fields) == 3 and "sync(" in fields[2] and from_s <= float(fields[1]) <= to_s


def _drains(folder: Path, port: int, plan: Plan) -> tuple[float, float | None]:
    """Messages per second of the outbox and of persist-queue: medians of interleaved rounds."""
    variants = ["drain", "peer"] if _has_peer() else ["drain"]
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    for n in range(plan.rounds):
        for variant in variants:
            # The peer is slow; its rate does not depend on the number of messages.
            count = plan.messages if variant == "drain" else plan.messages // 4
            done = _run(folder / f"{variant}-{n}", variant, port, count)
            rates[variant].append(done.messages / done.seconds)
            shutil.rmtree(folder / f"{variant}-{n}")
    return median(rates["drain"]), median(rates["peer"]) if "peer" in rates else None


def _has_peer() -> bool:
    try:
        import persistqueue  # noqa: F401  only whether it is installed
    except ImportError:
        print(
            f"bench outbox: persist-queue is not installed, measuring without it; expected: {install('bench')}",
            file=sys.stderr,
        )
        return False
    return True


def _handover(folder: Path, port: int) -> tuple[float, float, float]:
    """CPU time in microseconds of encoding, of `Publisher.publish_frame`, and of the latter after a sleep.

    Every frame is published while the worker sends messages and receives acknowledgements.
    """
    from edge_app.publish.publisher import Publisher

    clock = SystemClock()
    labels = {"digits": tuple("0123456789")}
    encoder = Encoder("bench-1", clock.boot_id, labels)
    sinks = (config.PluginConfig("mqtt", {"host": "127.0.0.1", "port": port}, name="mqtt"),)
    publisher = Publisher(_config(folder, sinks), clock, "bench-1", labels, durable=True)

    def encode(frame: Frame) -> None:
        encoder.result(frame.sequence, frame, clock_synced=True)

    frames = [outbox_load.frame(n, clock, detections=3) for n in range(20)]
    time.sleep(1.0)  # connected
    encodes, handovers = [], []
    for _ in range(5):
        encodes.append(_cpu_us(encode, frames, calls=500, pause_s=0.0002))
        handovers.append(_cpu_us(publisher.publish_frame, frames, calls=500, pause_s=0.0002))
    cold = _cpu_us(publisher.publish_frame, frames, calls=200, pause_s=0.01)
    publisher.close()
    return min(encodes), min(handovers), cold


def _cpu_us(work: Callable[[Frame], None], frames: Sequence[Frame], calls: int, pause_s: float) -> float:
    """The median CPU time of this thread for one call."""
    spent = []
    for n in range(calls):
        time.sleep(pause_s)
        before_ns = time.thread_time_ns()
        work(frames[n % len(frames)])
        spent.append((time.thread_time_ns() - before_ns) / 1000)
    return median(spent)


def _config(folder: Path, sinks: tuple[config.PluginConfig, ...]) -> config.Config:
    """A configuration that only publishes, the results of every frame."""
    from edge_app.model import manifest
    from edge_app.model.schema import Input

    size = Input(1, 1)
    source = config.PluginConfig("synthetic")
    return config.Config(
        path=folder,
        device=config.DeviceConfig("bench-1", folder),
        source=config.SourceConfig(config.SourceCommon("synthetic"), source),
        model=config.ModelConfig(folder),
        manifest=manifest.Manifest(folder, "none", size, {}, None, {}),
        heads={},
        publish=config.PublishConfig(results="all"),
        sinks=sinks,
    )


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _per(count: int | None, of: float) -> float | None:
    return None if count is None else round(count / of, 3)
