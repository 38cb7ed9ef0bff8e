"""Many cameras' messages through one Mosquitto into a real PostgreSQL, with consumers and the broker ended meanwhile.

60 cameras; 1,000 are marked `long`. Debian packages: postgresql, mosquitto, python3-psycopg2, python3-paho-mqtt.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edge_app.bench import mosquitto
from tests.conftest import PROJECT

CONSUMER = PROJECT / "firmware_bundle/postgresql/consumer.py"
PYTHON = "/usr/bin/python3"  # Debian's, with its packages
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
MESSAGES = 10
PER_PROCESS = 50


def lacking() -> str | None:
    if os.geteuid() != 0:
        return "needs root: PostgreSQL runs as another user"
    if not PROGRAMS or mosquitto.program() is None:
        return "needs the Debian packages postgresql and mosquitto"
    done = subprocess.run([PYTHON, "-c", "import psycopg2, paho.mqtt.client"], capture_output=True, check=False)
    return "needs the Debian packages python3-psycopg2 and python3-paho-mqtt" if done.returncode else None


pytestmark = [pytest.mark.system, pytest.mark.skipif(lacking() is not None, reason=str(lacking()))]


GOOD = '{"id": "a", "device": "cam", "kind": "event", "utc": "2026-01-02T03:04:05Z", "text": "\\u0000"}'


class Database:
    """A PostgreSQL that listens on a Unix socket only."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="edge-app-postgresql-"))
        os.chown(self.folder, pwd.getpwnam("postgres").pw_uid, -1)
        self.name = f"host={self.folder} user=postgres dbname=postgres"
        self._run("initdb", "-A", "trust", "-D", self.folder / "data", "--no-instructions")
        with (self.folder / "data/postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n")

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", self.folder / "data", "-m", "immediate", "stop")

    def ask(self, query: str) -> int:
        return int(self._run("psql", "-X", "-A", "-t", "-d", self.name, "-c", query) or 0)

    def _run(self, program: str, *arguments: object) -> str:
        command = ["runuser", "-u", "postgres", "--", str(PROGRAMS[-1] / program), *map(str, arguments)]
        with tempfile.TemporaryFile("w+") as out:  # the server keeps a pipe open
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, cwd="/", check=False)
            out.seek(0)
            text = out.read()
        assert done.returncode == 0, text
        return text.strip()


@pytest.fixture
def database():
    database = Database()
    database.start()
    yield database
    database.stop()
    shutil.rmtree(database.folder)


class Consumer:
    """One consumer with a supervisor, as systemd's Restart=always: `watch` starts it again."""

    def __init__(self, name: str, port: int, database: Database) -> None:
        self._command = [PYTHON, CONSUMER, name, "127.0.0.1", str(port), database.name]
        self.starts = 0
        self.watch()

    def watch(self) -> None:
        if self.starts == 0 or self.process.poll() is not None:
            self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
            self.starts += 1

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize(("cameras", "seconds"), [(60, 6), pytest.param(1000, 60, marks=pytest.mark.long)])
def test_every_message_of_every_camera_becomes_one_row(tmp_path, database, cameras, seconds):
    broker = mosquitto.Mosquitto(tmp_path, persistent=True).start()
    consumers = [Consumer(f"db-{n}", broker.port, database) for n in range(2)]
    publish_until_stored(broker.port, database, consumers)  # a broker keeps nothing before the first subscription
    began = time.monotonic()
    publishers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.system.publishing_cameras", tmp_path, str(broker.port), str(first),
             str(min(PER_PROCESS, cameras - first)), str(MESSAGES), str(seconds)],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True,
        )
        for first in range(0, cameras, PER_PROCESS)
    ]  # fmt: skip
    disturb = [
        consumers[0].kill, broker.stop, lambda: (time.sleep(1), broker.start()), consumers[1].kill, database.stop,
        lambda: (time.sleep(1), database.start()), consumers[0].kill,
    ]  # fmt: skip
    try:
        total = cameras * MESSAGES
        while (rows := count(database)) < total and time.monotonic() < began + 300:
            if disturb and rows >= 0 and time.monotonic() > began + 2 + (7 - len(disturb)) * seconds / 8:
                disturb.pop(0)()
            elif disturb and rows < 0:
                disturb.pop(0)()  # the database is stopped: start it again
            for consumer in consumers:
                consumer.watch()
            time.sleep(0.2)
        published = sum(int(publisher.communicate(timeout=60)[0]) for publisher in publishers)
        print(
            f"{cameras} cameras, {published} messages: {rows} rows after {time.monotonic() - began:.0f} s; "
            f"{sum(consumer.starts for consumer in consumers)} starts of 2 consumers"
        )
        assert not disturb
        assert published == total == rows
        assert database.ask("SELECT count(DISTINCT id) FROM edge_app WHERE kind = 'result'") == total
        assert database.ask("SELECT count(DISTINCT device) FROM edge_app WHERE kind = 'result'") == cameras
    finally:
        for consumer in consumers:
            consumer.kill()
        for publisher in publishers:
            publisher.kill()
        broker.stop()


def publish_until_stored(port: int, database: Database, consumers: list[Consumer]) -> None:
    """Publish one event again and again, until it is in the database."""
    import paho.mqtt.client as paho

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    end = time.monotonic() + 60
    while count_all(database) < 1 and time.monotonic() < end:
        for consumer in consumers:
            consumer.watch()
        client.publish("edge-app/cam/event", GOOD, qos=1)
        time.sleep(0.3)
    client.disconnect()
    client.loop_stop()
    assert count_all(database) == 1


def count(database: Database) -> int:
    """Rows of results; -1 while the database is stopped or has no table yet."""
    try:
        return database.ask("SELECT count(*) FROM edge_app WHERE kind = 'result'")
    except AssertionError:
        return -1


def test_what_is_no_message_of_a_camera_is_reported_and_does_not_stop_the_consumer(tmp_path, database):
    import paho.mqtt.client as paho

    broker = mosquitto.Mosquitto(tmp_path).start()
    command = [PYTHON, CONSUMER, "db", "127.0.0.1", str(broker.port), database.name]
    consumer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    bad = ["", "[]", "{}", "\xff", GOOD.replace("2026", "soon"), GOOD.replace('"a"', "[1]")]
    try:
        end = time.monotonic() + 30
        while count_all(database) < 1 and time.monotonic() < end:
            for text in (*bad, GOOD):
                client.publish("edge-app/cam/event", text.encode("latin-1"), qos=1)
            time.sleep(0.3)
        assert count_all(database) == 1
        assert consumer.poll() is None
    finally:
        client.loop_stop()
        consumer.kill()
        broker.stop()
    assert "edge-app/cam/event: not a message of a camera: JSONDecodeError" in consumer.communicate()[1]


def count_all(database: Database) -> int:
    try:
        return database.ask("SELECT count(*) FROM edge_app WHERE id = 'a'")
    except AssertionError:
        return -1
