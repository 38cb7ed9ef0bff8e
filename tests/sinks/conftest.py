"""What the tests of sinks share: a context, messages, a real broker."""

import shutil
import socket
import subprocess
import time

import pytest

from edge_app.clock import SystemClock
from edge_app.messages import Encoder, Stamp, decode
from edge_app.sinks import SinkContext


@pytest.fixture
def context():
    return SinkContext("cam-1", "sink", SystemClock())


@pytest.fixture
def message():
    """Makes messages: message(5), message(6, "event", rule="door")."""
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def make(seq, kind="status", size=100, rule=None):
        stamp = Stamp(clock.monotonic_ns(), clock.utc_ns(), clock.synced())
        payload = encoder.status(seq, stamp, {"pad": "x" * size}).payload
        if kind == "event":
            payload = payload.replace(b'"kind":"status"', b'"kind":"event","rule":"%s"' % rule.encode())
        return decode(payload)

    return make


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A Mosquitto of this test's own. Started and stopped at will, always on the same port."""

    def __init__(self, folder, config=""):
        self.port = free_port()
        self.config = folder / "mosquitto.conf"
        self.config.write_text(config or f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.process = None

    def start(self):
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        self.process = subprocess.Popen([program, "-c", self.config], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < end, "mosquitto does not listen"
                assert self.process.poll() is None, "mosquitto has ended"
                time.sleep(0.02)

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def broker(tmp_path):
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    made = Broker(tmp_path)
    yield made.start()
    made.stop()
