"""Home Assistant 2025.4.4 itself on what a camera publishes: its discovery, its templates, and what it shows after
crashes, restarts and removals of camera, broker and Home Assistant.

Installs it into a Debian 13 of its own (home_assistant_root.py), or for a Python 3.13 that is here. With
$EDGE_APP_HOME_ASSISTANT, a Python that has it, or $EDGE_APP_TEST_HOME_ASSISTANT, a Debian that has it, nothing is
installed, and `-m system` runs one scenario (tests/system/test_home_assistant.py).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_app.bench import mosquitto
from edge_app.sinks._home_assistant_entities import safe
from tests.sinks import home_assistant_root
from tests.sinks.home_assistant_root import PACKAGES, HomeAssistant
from tests.sinks.state_camera import DEVICE

ROOT = Path(__file__).parent.parent.parent
RULES = {"yard": "zone", "gate-1": "line", "crowd": "count", "meter": "reading", "view": "scene", "stay": "stationary"}
LIMIT_S = 10.0  # after all three are connected
PREFIX = f"{safe(DEVICE)}_"
pytestmark = pytest.mark.long


def python_313():
    """A Python 3.13 that runs; the one of pyenv's shims may not."""
    candidates = [shutil.which("python3.13"), *sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python3.13"))]
    for each in candidates:
        if each and subprocess.run([each, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(each)
    return None


@pytest.fixture(scope="session")
def home_assistant(tmp_path_factory):
    """Home Assistant: the one that is here, else in a new Debian 13, else for a Python 3.13."""
    folder = tmp_path_factory.mktemp("home_assistant")
    found = installed()
    if found is None and home_assistant_root.lacking() is None:
        found = home_assistant_root.made(folder)
    if found is None:
        found = HomeAssistant(_for_python_313(folder))
    print(home_assistant_root.version(found))
    return found


def installed():
    """Home Assistant where it is already installed, or None."""
    if given := os.environ.get("EDGE_APP_HOME_ASSISTANT"):
        return HomeAssistant(given)
    kept = os.environ.get("EDGE_APP_TEST_HOME_ASSISTANT")
    if kept and (Path(kept) / "ha/complete").exists() and home_assistant_root.lacking() is None:
        return home_assistant_root.made(Path(kept))
    return None


def _for_python_313(folder):
    """The Python of a new virtual environment with Home Assistant."""
    python = python_313()
    if python is None:
        pytest.skip(f"no Python 3.13 here, and no Debian can be made: {home_assistant_root.lacking()}")
    subprocess.run([python, "-m", "venv", folder], check=True)
    done = subprocess.run([folder / "bin/pip", "install", "-q", *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Home Assistant cannot be installed: {done.stderr[-200:]}")
    return str(folder / "bin/python")


class World:
    """A camera, a broker and Home Assistant, each of which can be started, stopped and killed."""

    def __init__(self, home_assistant, folder, *, persistent=True):
        self.folder, self.home_assistant = folder, home_assistant
        self.broker_ = mosquitto.Mosquitto(folder, persistent=persistent)
        self.processes = {}
        self.rules = dict(RULES)
        self.occupied = False
        for name in ("core", "camera"):
            (folder / name).mkdir()

    def __enter__(self):
        for name in ("broker", "home", "camera"):
            self.start(name)
        return self

    def __exit__(self, *exc):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.broker_.stop()

    def start(self, name):
        if name == "broker":
            self.broker_.start()
            return
        port = str(self.broker_.port)
        if name == "home":
            command = self.home_assistant.command(self.folder, port)
        else:
            rules = json.dumps(self.rules)
            command = [sys.executable, "-m", "tests.sinks.state_camera", port, str(self.folder / "camera"), rules]
        self.processes[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        if name == "home":
            assert self.processes[name].stdout.readline().strip() == "ready", (self.folder / "core.log").read_text()
        else:
            self.set(occupied=self.occupied)

    def end(self, name, *, kill):
        """Stop a part, or let it crash."""
        if name == "broker":
            if kill:
                self.broker_._process.kill()
            self.broker_.stop()
            return
        process = self.processes.pop(name)
        if kill:
            process.kill()
        process.stdin.close()
        process.wait(20)
        process.stdout.close()

    def set(self, *, occupied):
        """Change what is true. A camera that is down finds it when it starts."""
        self.occupied = occupied
        if "camera" in self.processes:
            self.tell("camera", json.dumps(self.states()))

    def states(self):
        on = {"enabled": True, "active": True}
        n = int(self.occupied)
        values = {
            "zone": {"occupancy": n, "labels": {"person": n} if n else {}},
            "line": {"in": n, "out": 0, "totals": {"in": {"total": 40 + n, "day": n, "hour": n}}},
            "count": {"count": 5 * n, "reached": bool(n), "labels": {}},
            "reading": {"text": f"12{n}\n7", "number": None},
            "scene": {"state": "dark" if n else "ok", "problem": bool(n)},
            "stationary": {"count": n, "labels": {}},
        }
        found = {f"rules/{name}": {**on, **values[t]} for name, t in self.rules.items() if name != "home_assistant"}
        camera = {"state": "running", "problem": False, "error": "", "faults": [], "level": "full"}
        return {
            **found,
            "heads/people": {**on, "count": 3 * n, "labels": {"person": 3} if n else {}, "score": 0.4},
            "heads/weather": {**on, "label": "rain" if n else "sun"},
            "camera": {**camera, "reuse": "ON", "precision": "float"},
            "device": {"temperature_c": 41, "memory_mb": 80, "frames_per_s": 9.9, "queue": n, "release": "1.2"},
        }

    def expected(self):
        """What Home Assistant has to show, by key."""
        n = int(self.occupied)
        on, total = ("off", "on")[n], str(40 + n)
        rules = {
            "yard": {
                "rule_yard": on,
                "rule_yard_count": str(n),
                "rule_yard_label_person": str(n),
            },
            "gate-1": {"rule_gate-1_in": total, "rule_gate-1_out": "0"},
            "crowd": {"rule_crowd": str(5 * n), "rule_crowd_reached": on},
            "meter": {"rule_meter": f"12{n} / 7"},
            "view": {"rule_view": on, "rule_view_state": "dark" if n else "ok"},
            "stay": {"rule_stay": on, "rule_stay_count": str(n)},
        }
        found = {key: state for name in self.rules if name in rules for key, state in rules[name].items()}
        return found | {
            "head_people": str(3 * n),
            "head_weather": "rain" if n else "sun",
            "score_people": "0.4",
            "reuse": "ON",
            "precision": "float",
            "camera_lost": "off",
            "temperature": "41",
            "queue": str(n),
            "release": "off",
        }

    def tell(self, name, line):
        process = self.processes[name]
        print(line, file=process.stdin, flush=True)
        return process.stdout.readline()

    def shown(self):
        """What Home Assistant shows, by key; and whether it is connected."""
        found = json.loads(self.tell("home", "states"))
        shown = {unique_id.removeprefix(PREFIX): each for unique_id, each in found["entities"].items()}
        return shown, found["connected"], found["devices"]

    def await_truth(self, gone=()):
        """Wait until Home Assistant shows the truth. Returns the seconds since it is connected."""
        since = None
        while True:
            shown, connected, _ = self.shown()
            now_s = time.monotonic()
            since = now_s if since is None or not connected else since
            expected = self.expected()
            wrong = {k: (v, shown.get(k, {}).get("state")) for k, v in expected.items() if _differs(shown, k, v)}
            left = [key for key in gone if key in shown]
            if connected and not wrong and not left:
                return now_s - since
            assert not connected or now_s - since < LIMIT_S, f"wrong: {wrong}; not removed: {left}"
            time.sleep(0.1)


def _differs(shown, key, value):
    return shown.get(key, {}).get("state") != value


@pytest.fixture
def world(home_assistant, tmp_path):
    if mosquitto.program() is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    with World(home_assistant, tmp_path) as running:
        running.await_truth()
        yield running


def logged(world):
    """Warnings and errors of Home Assistant about what the camera published."""
    text = (world.folder / "core.log").read_text()
    return [line for line in text.splitlines() if "components.mqtt" in line and "connect" not in line.lower()]


def test_every_entity_is_accepted_and_shows_the_truth(world):
    world.set(occupied=True)
    world.await_truth()
    shown, _, devices = world.shown()
    components = {"switch_rule_yard", "switch_head_people", "snapshot", "restart", "last_event", "frame_rate", "memory"}
    assert components | world.expected().keys() <= shown.keys()
    assert {key for key, each in shown.items() if each["state"] == "unavailable"} == set()
    diagnostic = {key for key, each in shown.items() if each["category"] == "diagnostic"}
    assert {"temperature", "memory", "frame_rate", "queue", "release", "camera_lost"} <= diagnostic
    assert devices == ["http://192.0.2.7:8080/"]
    assert not logged(world)


def scenarios():
    """Name, whether it is occupied at first, what goes down (and whether it crashes), the order of its return."""
    for first in (False, True):
        for part in ("camera", "broker", "home"):
            for kill in (True, False):
                yield first, [part], kill, [part]
        for pair in (("camera", "broker"), ("camera", "home"), ("broker", "home")):
            for order in (list(pair), list(reversed(pair))):
                yield first, list(pair), True, order


@pytest.mark.parametrize(
    ("first", "parts", "kill", "order"),
    [
        pytest.param(*each, id="-".join(["occupied" if each[0] else "clear", "crash" if each[2] else "stop", *each[3]]))
        for each in scenarios()
    ],
)
def test_the_truth_is_shown_soon_after_all_are_connected(world, first, parts, kill, order):
    world.set(occupied=first)
    world.await_truth()
    for part in parts:
        world.end(part, kill=kill)
    world.set(occupied=not first)
    for part in order:
        if part == "home" and "broker" in order and order.index("home") < order.index("broker"):
            continue  # the integration cannot be set up without a broker; Home Assistant retries later
        world.start(part)
    if "home" not in world.processes:
        world.start("home")
    took_s = world.await_truth()
    print(f"true {took_s:.1f} s after all were connected")
    assert not logged(world)


@pytest.mark.parametrize("away", ["", "home", "broker"])
def test_a_removed_rule_disappears(world, away):
    gone = ("rule_yard", "rule_yard_count", "rule_yard_label_person", "switch_rule_yard")
    world.end("camera", kill=True)
    if away:
        world.end(away, kill=True)
    del world.rules["yard"]
    if away == "broker":
        world.start("broker")
    world.start("camera")
    if away == "home":
        time.sleep(3)  # the camera removes it while Home Assistant is away
        world.start("home")
    world.await_truth(gone)


def test_a_rule_of_another_type_replaces_the_old_entities(world):
    world.end("camera", kill=True)
    world.rules["yard"] = "count"
    world.start("camera")
    deadline = time.monotonic() + LIMIT_S
    while world.shown()[0].get("rule_yard", {}).get("state") != "0":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_rule_that_comes_back_is_shown_again(world):
    world.end("camera", kill=True)
    kind = world.rules.pop("view")
    world.start("camera")
    world.await_truth(("rule_view", "rule_view_state"))
    world.end("camera", kill=True)
    world.rules["view"] = kind
    world.start("camera")
    world.await_truth()


def test_a_camera_without_home_assistant_removes_its_entities(world):
    world.end("camera", kill=False)
    world.rules = {**RULES, "home_assistant": False}
    world.start("camera")
    deadline = time.monotonic() + LIMIT_S
    while world.shown()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_power_cut_is_shown_within_one_and_a_half_keepalives(world):
    world.processes["camera"].send_signal(signal.SIGSTOP)  # it sends nothing, and the connection stays open
    start_s = time.monotonic()
    while world.shown()[0]["rule_yard"]["state"] != "unavailable":
        assert time.monotonic() - start_s < 1.5 * 10, "the default of keepalive_s"
        time.sleep(0.1)
    print(f"offline {time.monotonic() - start_s:.1f} s after the power cut")
