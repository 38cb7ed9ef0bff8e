"""From this checkout to a camera: a fresh Debian 12 with its own Python packages and the wheels of the bundle.

A good release is deployed over ssh, and its messages are read from a broker outside. Then bad releases are deployed:
after each the good one runs again within a minute, and the reason is published.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE
from tests.system import debian_container as debian

pytestmark = [pytest.mark.system, pytest.mark.skipif(debian.lacking() is not None, reason=str(debian.lacking()))]

CONFIG = """
device: {{id: cam-1, state_dir: ../data, commit_sink: mqtt}}
source: {{type: video, path: /srv/sample.mp4, pace: realtime}}
model: {{path: ../current/models/digits, backend: onnx}}
track: {{head: digits, mix_classes: true}}
rules:
  - {{name: meter, type: reading, heads: [digits, panel]}}
publish: {{results: on_change, status_every_s: 2}}
sinks:
  - {{type: mqtt, host: 127.0.0.1, port: {port}, username: camera, password: "credential:mqtt"}}
"""


def free_port() -> int:
    """A free port whose next port is free too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(("127.0.0.1", one.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return one.getsockname()[1]


class Broker:
    """A Mosquitto outside the camera, and all messages that it received."""

    def __init__(self, folder: Path) -> None:
        import paho.mqtt.client as paho

        self.port = free_port()
        (folder / "mosquitto.conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.process = subprocess.Popen(["mosquitto", "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
        self.messages: list[dict] = []
        version = [paho.CallbackAPIVersion.VERSION2] if hasattr(paho, "CallbackAPIVersion") else []
        self.client = paho.Client(*version)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-app/#", qos=1)
        self.client.on_message = lambda client, _, message: self._take(message.payload)
        for _ in range(50):
            try:
                self.client.connect("127.0.0.1", self.port)
                break
            except OSError:
                time.sleep(0.1)
        self.client.loop_start()

    def _take(self, payload: bytes) -> None:
        message = json.loads(payload) if payload.startswith(b"{") else {}
        if "kind" in message:  # not the state of rules and heads
            self.messages.append(message)

    def wait(self, wanted, timeout_s: float = 30.0) -> dict:
        """The first message of which `wanted` is true."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for message in list(self.messages):
                if wanted(message):
                    return message
            time.sleep(0.1)
        raise AssertionError(f"not among {len(self.messages)} messages; the last: {self.messages[-1:]}")

    def close(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    if shutil.which("mosquitto") is None:
        pytest.skip("needs the Debian package mosquitto")
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    root = debian.make(folder)
    shutil.copy(PROJECT / "models/digits/sample.mp4", root / "srv/sample.mp4")
    with debian.booted(root, folder, free_port()) as machine:
        yield machine
    shutil.rmtree(root)


class Workshop:
    """A copy of the files that deploy.sh needs, in which good and bad releases are built."""

    def __init__(self, folder: Path, machine: debian.Machine, broker: Broker) -> None:
        self.folder, self.machine, self.broker = folder, machine, broker
        self.wheels = folder / "wheels"
        (folder / "config.yaml").write_text(CONFIG.format(port=broker.port))
        made = [sys.executable, FIRMWARE / "build.py", "wheels", "--board", "amd64", "--python", "3.11"]
        subprocess.run([*made, "--out", self.wheels], check=True)

    def checkout(self) -> Path:
        copy = self.folder / "checkout"
        shutil.rmtree(copy, ignore_errors=True)
        for name in ("edge_app", "firmware_bundle", "models/digits"):
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "sample.mp4"))
        shutil.copy(PROJECT / "deploy.sh", copy)
        return copy

    def deploy(
        self, checkout: Path, version: str, *, port: int | None = None, config: str = "config.yaml"
    ) -> tuple[int, str, float]:
        """Run deploy.sh. Returns exit code, output, seconds."""
        began = time.monotonic()
        done = self.call(
            checkout, "--board", "amd64", "--version", version, "--wheels", self.wheels,
            "--config", self.folder / config, port=port,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, time.monotonic() - began

    def call(self, checkout: Path, *arguments: object, port: int | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHON": sys.executable, "EDGE_APP_SSH_OPTIONS": " ".join(self.machine.options),
            "XDG_CONFIG_HOME": str(self.folder / "home"),
        }  # fmt: skip
        command = [checkout / "deploy.sh", "--port", port or self.machine.port, *arguments, "root@127.0.0.1"]
        return subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, env=environment, timeout=300, check=False
        )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, machine, broker):
    return Workshop(tmp_path_factory.mktemp("workshop"), machine, broker)


@pytest.fixture(scope="module")
def good(workshop):
    """The camera with a good release deployed; the name of the release."""
    credentials = workshop.machine.root / "opt/edge-app/credentials"
    credentials.mkdir(0o700, parents=True)
    (credentials / "mqtt").write_text("a secret\n")  # the sink of CONFIG needs it
    code, said, seconds = workshop.deploy(workshop.checkout(), "1.0")
    assert code == 0, said
    assert "generated a development key" in said
    assert "healthy; kept" in said
    print(f"deployed in {seconds:.0f} s")
    return state(workshop.machine)["good"]


def state(machine):
    return json.loads(machine.run("python3 /opt/edge-app/updater/slots.py status"))


def test_the_service_runs_and_its_readings_arrive(good, workshop):
    assert workshop.machine.run("systemctl is-active edge-app").strip() == "active"
    expected = subprocess.run(
        [sys.executable, "-m", "edge_app.cli", "replay", "models/digits/sample.mp4"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    events = [m for line in expected.splitlines() if (m := json.loads(line))["kind"] == "event"]
    readings = {json.dumps(m["value"].get("text")) for m in events if m["rule"] == "meter"}
    message = workshop.broker.wait(lambda m: m["kind"] == "event" and m["rule"] == "meter")
    assert message["device"] == "cam-1"
    assert json.dumps(message["value"].get("text")) in readings
    result = workshop.broker.wait(lambda m: m["kind"] == "result" and m["heads"]["digits"]["detections"])
    assert {each["label"] for each in result["heads"]["digits"]["detections"]} <= set("0123456789")


def test_the_daemon_is_unprivileged_and_cannot_change_the_updater(good, workshop):
    pid = workshop.machine.run("systemctl show --value -p MainPID edge-app").strip()
    status = dict(
        line.split(":\t") for line in workshop.machine.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert int(status["Uid"].split()[0]) >= 61184  # DynamicUser
    assert int(status["CapEff"], 16) == 0
    assert int(status["NoNewPrivs"]) == 1
    writable = workshop.machine.run(
        f"find /opt/edge-app -user {status['Uid'].split()[0]}; find /opt/edge-app -perm /022 -not -type l"
    )
    assert not writable


LISTENING = """
import os
for pid in [{pid}]:
    own = {{os.readlink(f"/proc/{{pid}}/fd/{{fd}}") for fd in os.listdir(f"/proc/{{pid}}/fd")}}
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in open(f"/proc/{{pid}}/net/{{kind}}").readlines()[1:]:
            fields = line.split()
            if fields[3] in ("0A", "07") and f"socket:[{{fields[9]}}]" in own:
                print(kind, fields[1])
"""


def test_the_daemon_listens_on_no_port(good, workshop):
    pid = workshop.machine.run("systemctl show --value -p MainPID edge-app").strip()
    assert workshop.machine.run(f"python3 -c '{LISTENING.format(pid=pid)}'") == ""
    ssh = workshop.machine.run(
        "systemctl show --value -p MainPID ssh"
    ).strip()  # control: a process that listens is found
    assert "tcp " in workshop.machine.run(f"python3 -c '{LISTENING.format(pid=ssh)}'")


def wrong_model(checkout):
    """Other weights than those of the golden vectors: file and hash are valid, the outputs differ."""
    import onnx
    import onnx.numpy_helper as arrays

    folder = checkout / "models/digits"
    graph = onnx.load(folder / "digits.onnx")
    weight = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    weight.CopyFrom(arrays.from_array(arrays.to_array(weight) * 1.5, weight.name))
    before = hashlib.sha256((folder / "digits.onnx").read_bytes()).hexdigest()
    onnx.save(graph, folder / "digits.onnx")
    after = hashlib.sha256((folder / "digits.onnx").read_bytes()).hexdigest()
    text = (folder / "model.yaml").read_text()
    assert before in text
    (folder / "model.yaml").write_text(text.replace(before, after))


def crashes(checkout):
    with (checkout / "edge_app/pipeline/opening.py").open("a") as file:
        file.write("\n\ndef build(config):\n    raise RuntimeError('a bug of this release')\n")


def sees_nothing(checkout):
    with (checkout / "edge_app/capture/thread.py").open("a") as file:
        file.write("\n\nCapture.read = lambda self, timeout_s: time.sleep(timeout_s)\n")


def hangs(checkout):
    path = checkout / "edge_app/cli/parser.py"
    path.write_text("import time\ntime.sleep(3600)\n")


def blocks_its_health_file(checkout):
    """The daemon puts a folder with contents at the path of its health file."""
    with (checkout / "edge_app/daemon/health_file.py").open("a") as file:
        file.write(
            "\n\ndef _write(self):\n    (self._path / 'full').mkdir(parents=True, exist_ok=True)\n"
            "\n\nHealthFile._write = _write\n"
        )


@pytest.mark.parametrize(
    ("spoil", "version", "reason"),
    [
        (wrong_model, "2.1", "golden"),
        (crashes, "2.2", "RuntimeError"),
        (sees_nothing, "2.3", "0 frames of 10"),
        pytest.param(hangs, "2.4", "reported nothing", marks=pytest.mark.long),
        pytest.param(blocks_its_health_file, "2.5", "reported nothing", marks=pytest.mark.long),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_release_is_rolled_back_and_the_reason_is_published(good, workshop, spoil, version, reason):
    checkout = workshop.checkout()
    spoil(checkout)
    workshop.broker.messages.clear()
    code, said, _ = workshop.deploy(checkout, version, port=workshop.machine.port + 1)  # over Dropbear
    assert code == 3, said
    assert reason in said
    after = state(workshop.machine)
    assert after["good"] == after["chosen"] == good
    told = workshop.broker.wait(lambda m: m["kind"] == "status" and failed(m).get("release", "").startswith(version))
    assert reason in failed(told)["reason"]
    assert told["status"]["release"]["running"] == good
    since = "systemctl show --value -p ActiveEnterTimestampMonotonic edge-app"
    log = workshop.machine.run("journalctl -o short-monotonic -u edge-app --no-pager")
    first = next(line for line in log.splitlines() if f"starting {version}-" in line)
    seconds = int(workshop.machine.run(since)) / 1e6 - float(first.split("]")[0].strip("[ "))
    print(f"{spoil.__name__}: the release before runs again after {seconds:.0f} s")
    assert 0 < seconds < 60


def test_a_bad_configuration_is_rolled_back(good, workshop):
    """The release is the running one: only its configuration is on trial."""
    text = (workshop.folder / "config.yaml").read_text()
    (workshop.folder / "bad.yaml").write_text(text.replace("/srv/sample.mp4", "/srv/nothing.mp4"))
    workshop.broker.messages.clear()
    code, said, _ = workshop.deploy(workshop.checkout(), "1.0", config="bad.yaml")
    assert code == 3, said
    assert "/srv/nothing.mp4" in said
    assert workshop.machine.run("cat /opt/edge-app/config/config.yaml") == text
    told = workshop.broker.wait(lambda m: m["kind"] == "status" and failed(m).get("release") == good)
    assert "/srv/nothing.mp4" in failed(told)["reason"]
    workshop.broker.wait(lambda m: m["kind"] == "result" and m["utc"] > told["utc"])


def failed(message):
    return (message["status"].get("release") or {}).get("failed") or {}


def test_status_rollback_and_wipe_from_the_laptop(good, workshop):
    checkout = workshop.checkout()
    assert good in workshop.call(checkout, "--status").stdout
    refused = workshop.call(checkout, "--rollback")
    assert refused.returncode == 2
    assert "there is no previous release" in refused.stderr
    workshop.machine.run("systemctl stop edge-app")
    told = workshop.machine.run("python3 /opt/edge-app/updater/slots.py wipe")
    assert "outbox.db" in told
    assert "config.yaml" in told
    assert not workshop.machine.run("find /var/lib/private/edge-app /opt/edge-app/config -type f")
