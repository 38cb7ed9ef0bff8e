"""Every network source: a secret in any option or part of the address appears in no output, whatever fails."""

from __future__ import annotations

import json
import logging
import random
import time
import traceback
from pathlib import Path

import pytest

from edge_app import pipeline, registry
from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import SystemClock
from edge_app.config import PluginConfig, SourceCommon, SourceConfig
from edge_app.config import load as load_config
from edge_app.config.plugins import from_url
from edge_app.daemon import Daemon
from edge_app.daemon.systemd import Notifier
from edge_app.errors import EdgeError
from edge_app.options import Secret
from edge_app.pipeline.sensors import BoardSensors
from tests.conftest import PROJECT
from tests.hostile_peers import HostilePeer, closes_at_once, control_characters, never_answers
from tests.sources import network

CANARY = "c4nary"
PLACES = (
    f"user:{CANARY}@HOST/live",
    f"{CANARY}@HOST/live",
    f"user:a@{CANARY}@HOST/live",
    f"user:%2F{CANARY}@HOST/live",
    f"HOST/live?user=a&password={CANARY}",
    f"HOST/user=a_password={CANARY}_channel=1.sdp",
    f"HOST/0/user:{CANARY}/main",
    "HOST/${CANARY}/live",
    "user:${CANARY}@HOST/live",
    "HOST/?${CANARY}",
)
MALFORMED = (
    f"user:{CANARY}/x@127.0.0.1/live",
    f"user:x/{CANARY}@127.0.0.1/live",
    f"user:{CANARY}#x@127.0.0.1/live",
    f"user:x#{CANARY}@127.0.0.1/live",
    f"user:{CANARY}?x@127.0.0.1/live",
    f"user:{CANARY}[x@127.0.0.1/live",
    f"user:1/{CANARY}@127.0.0.1/live",
    f"user:{CANARY} x@127.0.0.1/live",
    f"user:{CANARY}@127.0.0.1:99999/live",
    f"user:{CANARY}@a..b/live",
    f"user:{CANARY}@[::1/live",
    f"user:{CANARY}\0@127.0.0.1/live",
    f"user:{CANARY}\ud800@127.0.0.1/live",
    f"user:{CANARY}@" + "a" * 64,
    f"user:{CANARY}@127.0.0.1/" + "x" * 5000,
)


@pytest.fixture(autouse=True)
def variable(monkeypatch):
    monkeypatch.setenv("CANARY", CANARY)


def error_text(exc: BaseException) -> str:
    """All that a log or a traceback could show."""
    return "".join([str(exc), repr(exc), *traceback.format_exception(exc)])


@pytest.mark.parametrize("type_", network.TYPES)
@pytest.mark.parametrize("attack", [never_answers, closes_at_once, control_characters], ids=lambda a: a.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_an_address_appears_in_an_output(type_, place, attack, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with HostilePeer(attack, network.protocol(type_)) as peer:
        source = network.open_source(type_, place.replace("HOST", f"127.0.0.1:{peer.port}"))
        with pytest.raises(EdgeError) as caught:
            source.read(1.0)
        source.close()
    outputs = [str(caught.value), repr(source), str(source.live), caplog.text, *capfd.readouterr()]
    assert not [text for text in outputs if CANARY in text]
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("type_", network.TYPES)
@pytest.mark.parametrize("rest", MALFORMED)
def test_a_rejected_address_is_not_shown(type_, rest, tmp_path):
    ((name, url),) = network.url_options(type_).items()
    address = f"{url.schemes[0]}://{rest}"
    path = tmp_path / "config.yaml"
    quoted = address.replace("\0", "\\0").replace("\ud800", "\\ud800")
    path.write_text(f'source: {{type: {type_}, {name}: "{quoted}"}}\nmodel: {{path: {PROJECT}/models/digits}}\n')
    with pytest.raises(EdgeError) as read:
        load_config(path)
    with pytest.raises(EdgeError) as built:
        registry.build("sources", type_, SystemClock(), **{name: address})
    for caught in (read, built):
        assert CANARY not in str(caught.value)
        assert str(caught.value).isprintable()
    with pytest.raises(EdgeError) as overridden:
        registry.build("sources", type_, SystemClock(), **dict(from_url(address).plugin.options))
    assert CANARY not in str(overridden.value)


@pytest.mark.parametrize(
    ("type_", "option"), [(type_, option) for type_ in network.TYPES for option in network.secret_options(type_)]
)
@pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n{CANARY}", f"{CANARY}\x1b", f"/{CANARY}?#[@:", "x" * 70_000])
def test_a_secret_in_an_option_appears_in_no_output(type_, option, content, tmp_path, caplog):
    (tmp_path / "secret").write_text(content)
    secret = Secret.parse("file:secret", tmp_path)
    found = ""
    with HostilePeer(closes_at_once, network.protocol(type_)) as peer:
        try:
            source = network.open_source(type_, f"user@127.0.0.1:{peer.port}/", **{option: secret})
            found = repr(source)
            source.read(1.0)
        except EdgeError as exc:
            found += error_text(exc)
    assert found
    assert CANARY not in found + caplog.text


@pytest.mark.parametrize("type_", network.TYPES)
def test_no_secret_is_published_or_stored(type_, config_file, tmp_path, caplog):
    ((name, url),) = network.url_options(type_).items()
    (tmp_path / "secret").write_text(CANARY)
    secrets = "".join(f", {option}: 'file:secret'" for option in network.secret_options(type_))
    with HostilePeer(closes_at_once, network.protocol(type_)) as peer:
        address = f"{url.schemes[0]}://user:{CANARY}@127.0.0.1:{peer.port}/password={CANARY}?x={CANARY}"
        path = config_file(
            f"source: {{type: {type_}, {name}: '{address}'{secrets}, connect: retry}}\ndevice: {{state_dir: state}}\n"
            "model: {path: PROJECT/models/digits}\nheads: {scene: {}}\npublish: {status_every_s: 0.1}\n"
            "sinks: [{type: jsonl, path: out.jsonl}]\n"
        )
        loaded = load_config(path)
        subject = Daemon(lambda: loaded, pipeline.build(loaded), Notifier({}), BoardSensors())
        end_s = time.monotonic() + 10.0
        while time.monotonic() < end_s and (subject.running.stats().capture.failures < 2 or not published(tmp_path)):
            subject.step()
        status = subject.status()
        subject.close()
    path.unlink()
    assert published(tmp_path)
    stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file.name != "secret"]
    outputs = [json.dumps(status), repr(loaded), repr(subject), caplog.text]
    assert not [output for output in outputs if CANARY in output]
    assert not [content for content in stored if CANARY.encode() in content]


def published(folder: Path) -> str:
    """The messages of the sink that report the camera."""
    file = folder / "out.jsonl"
    return "".join(line for line in file.read_text().splitlines() if "camera" in line) if file.exists() else ""


@pytest.mark.parametrize("type_", network.TYPES)
def test_the_statistics_and_the_log_of_a_lost_camera_show_no_secret(type_, caplog):
    ((name, url),) = network.url_options(type_).items()
    with HostilePeer(closes_at_once, network.protocol(type_)) as peer:
        address = f"{url.schemes[0]}://user:{CANARY}@127.0.0.1:{peer.port}/password={CANARY}?x={CANARY}"
        plugin = PluginConfig(type_, {name: address}, "config.yaml:1")
        config = SourceConfig(SourceCommon(type_, connect="retry"), plugin)
        with Capture(config, SystemClock(), backoff=Backoff(0.01, 0.02), rng=random.Random(1)) as capture:
            end_s = time.monotonic() + 10.0
            while capture.stats().failures < 3 and time.monotonic() < end_s:
                capture.read(0.1)
            stats = capture.stats()
    assert stats.failures >= 3
    assert stats.last_error
    assert CANARY not in repr(stats) + repr(config) + caplog.text
