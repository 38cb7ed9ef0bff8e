"""A real RTSP server (GStreamer, loopback) that is killed, stopped and restarted.

Debian packages: python3-gi gir1.2-gst-rtsp-server-1.0.
"""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import SystemClock
from edge_app.errors import SourceError

pytestmark = [pytest.mark.system, pytest.mark.alone]

PYTHON = "/usr/bin/python3"  # the system Python: GObject bindings are a Debian package, not a wheel
SERVER = Path(__file__).with_name("rtsp_server.py")
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
PATIENCE_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def packages():
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip("needs the Debian packages python3-gi and gir1.2-gst-rtsp-server-1.0")


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def serve(port):
    """Start a server on `port`; all are killed at the end."""
    started = []

    def start(*login):
        server = subprocess.Popen([PYTHON, SERVER, str(port), *login], stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stdout.readline() == "ready\n"
        return server

    yield start
    for server in started:
        server.kill()
        server.wait()
        server.stdout.close()


def capture(port, connect="required", login="", **options):
    options = {"url": f"rtsp://{login}127.0.0.1:{port}/test", "open_timeout_s": 5.0, "read_timeout_s": 1.0, **options}
    source = config.SourceConfig(config.SourceCommon("rtsp", connect=connect), config.PluginConfig("rtsp", options))
    return Capture(source, SystemClock(), backoff=Backoff(0.2, 1.0), rng=random.Random(0))


def read_frames(running, n):
    frames = []
    deadline_s = time.monotonic() + PATIENCE_S
    while len(frames) < n:
        assert time.monotonic() < deadline_s, running.stats()
        frame = running.read(0.5)
        if frame is not None:
            frames.append(frame)
    return frames


def wait_for(running, state):
    deadline_s = time.monotonic() + PATIENCE_S
    while running.stats().state != state:
        assert time.monotonic() < deadline_s, running.stats()
        running.read(0.05)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_are_fresh_complete_and_in_order(serve, port, transport, capfd):
    serve()
    with capture(port, transport=transport) as running:
        frames = read_frames(running, 30)
        age_s = (SystemClock().monotonic_ns() - frames[-1].captured_ns) * 1e-9
        stats = running.stats()
    assert {frame.pixels.shape for frame in frames} == {(240, 320, 3)}
    assert np.diff([frame.sequence for frame in frames]).min() >= 1
    assert np.diff([frame.captured_ns for frame in frames]).min() > 0
    assert any((frames[0].pixels != frame.pixels).any() for frame in frames)  # the ball moves
    assert age_s < 0.5
    assert (stats.state, stats.failures, stats.abandoned) == ("running", 0, 0)
    assert capfd.readouterr().err == ""


def test_a_slow_reader_gets_only_the_latest_frame(serve, port):
    serve()
    with capture(port) as running:
        read_frames(running, 5)
        time.sleep(1.0)
        frame = running.read(1.0)
        age_s = (SystemClock().monotonic_ns() - frame.captured_ns) * 1e-9
        stats = running.stats()
    assert age_s < 0.3
    assert stats.dropped >= 10  # of the 25 of that second


def test_reconnects_to_a_server_that_was_killed_and_restarted(serve, port, caplog):
    server = serve()
    with capture(port, read_timeout_s=3.0) as running:  # a server may pause before its first image
        before = read_frames(running, 5)
        server.kill()
        server.wait()
        wait_for(running, "lost")
        lost_ns = running.stats().since_ns
        while (frame := running.read(1.5)) is not None:
            assert frame.captured_ns <= lost_ns  # frames from before the loss are still delivered
        assert running.stats().last_error.startswith(f"rtsp://127.0.0.1:{port}/test: ")
        serve()
        after = read_frames(running, 5)
        stats = running.stats()
    assert (stats.state, stats.reconnects, stats.abandoned) == ("running", 1, 0)
    assert stats.failures >= 2
    assert stats.since_ns > lost_ns
    assert after[0].sequence > before[-1].sequence
    assert [record.message.split(":")[0] for record in caplog.records] == ["rtsp", "camera"]  # lost, then recovered


def test_a_server_that_stops_sending_is_reported_lost_and_reconnected(serve, port):
    server = serve()
    with capture(port, open_timeout_s=2.0) as running:
        read_frames(running, 5)
        server.send_signal(signal.SIGSTOP)  # the connection stays open without data
        stopped_s = time.monotonic()
        wait_for(running, "lost")
        assert time.monotonic() - stopped_s < 4.0
        assert "no frame for" in running.stats().last_error
        server.send_signal(signal.SIGCONT)
        read_frames(running, 5)
        assert running.stats().reconnects == 1


def test_a_password_from_a_file_opens_a_protected_stream_and_is_never_logged(serve, port, tmp_path, caplog, capfd):
    serve("bob", "s3:c@r/t")
    (tmp_path / "login").write_text("bob:s3:c@r/t\n")
    with capture(port, credentials=tmp_path / "login") as running:
        read_frames(running, 2)
    with capture(port, login="bob:wr0ng@") as running, pytest.raises(SourceError) as caught:
        read_frames(running, 1)
    assert str(caught.value) == (
        f"rtsp://…@127.0.0.1:{port}/test: cannot be opened: rejected by the server; check the path,"
        " user and password; expected an RTSP stream"
    )
    assert "wr0ng" not in caplog.text
    assert capfd.readouterr().err == ""


def test_waits_for_a_camera_that_starts_later(serve, port):
    with capture(port, connect="retry") as running:
        wait_for(running, "lost")
        serve()
        assert read_frames(running, 3)[0].sequence == 0
        assert running.stats().reconnects == 1


def test_a_server_that_never_answers_ends_a_required_run_in_time():
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, capture(silent.getsockname()[1], open_timeout_s=1.0) as running:
        started_s = time.monotonic()
        with pytest.raises(SourceError, match=r"cannot be opened: no answer within 1\.\d s"):
            read_frames(running, 1)
        assert time.monotonic() - started_s < 3.0


def test_memory_does_not_grow_with_reconnects(serve, port):
    def resident_kb():
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    serve()
    sizes, files = [], []
    for _ in range(6):
        with capture(port) as running:
            read_frames(running, 2)
        sizes.append(resident_kb())
        files.append(len(os.listdir("/proc/self/fd")))
    assert sizes[-1] - sizes[1] < 4096, sizes
    assert files[-1] == files[1]
