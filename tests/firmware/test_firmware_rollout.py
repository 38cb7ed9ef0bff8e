"""Rolling out to a fleet: canaries, batches, the halt, the report and resuming. The cameras are functions."""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edge_app.errors import ConfigError
from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE  # makes the modules below importable

import fleet  # isort: skip
import inventory  # isort: skip
from rollout import Job, Rollout  # isort: skip
from rollout_report import Entry, Report  # isort: skip

assert FIRMWARE


def jobs(count, name="2.0-aaaaaaaaaaaa"):
    return [Job(inventory.Camera(f"cam-{i}", f"10.0.0.{i}"), "amd64", "3.11", name=name) for i in range(count)]


def rollout(tmp_path, count, deploy, *, halt_on=1, canaries=1, batch=3, parallel=1):
    report = Report(tmp_path / "report.json")
    report.keep([job.camera.name for job in jobs(count)])
    done = Rollout(report, halt_on, parallel, deploy).run(jobs(count), canaries, batch)
    return done, report


def outcomes(report):
    return [entry.outcome for entry in report.cameras.values()]


def test_every_camera_is_updated_and_the_report_is_on_the_disk_after_each(tmp_path):
    seen = []

    def deploy(job):
        on_disk = json.loads((tmp_path / "report.json").read_text())["cameras"]
        seen.append((job.camera.name, on_disk[job.camera.name]["outcome"]))
        return 0, ""

    done, report = rollout(tmp_path, 8, deploy)
    assert done
    assert seen == [(f"cam-{i}", "running") for i in range(8)]
    assert outcomes(report) == ["kept"] * 8
    assert Report(tmp_path / "report.json").cameras == report.cameras


def test_a_failed_canary_halts_at_one_even_if_more_failures_are_allowed(tmp_path):
    done, report = rollout(tmp_path, 8, lambda _: (3, "rolled back: golden vectors differ"), halt_on=5)
    assert not done
    assert outcomes(report) == ["rolled_back"] + ["waiting"] * 7
    assert report.cameras["cam-0"].reason == "rolled back: golden vectors differ"
    assert report.summary() == "0 of 8 kept, 7 waiting, 1 rolled back"


@pytest.mark.parametrize(("code", "outcome"), [(3, "rolled_back"), (2, "rejected"), (255, "lost"), (1, "lost")])
def test_a_failure_in_a_batch_starts_no_further_camera(tmp_path, code, outcome):
    done, report = rollout(tmp_path, 9, lambda job: (code if job.camera.name == "cam-2" else 0, "why"))
    assert not done
    assert outcomes(report) == ["kept", "kept", outcome] + ["waiting"] * 6


def test_failures_below_the_limit_do_not_halt(tmp_path):
    done, report = rollout(tmp_path, 9, lambda job: (3 if job.camera.name == "cam-2" else 0, "why"), halt_on=2)
    assert done
    assert outcomes(report).count("kept") == 8


def test_an_interruption_starts_no_further_camera_and_lets_those_in_progress_finish(tmp_path):
    def deploy(job):
        if job.camera.name == "cam-1":
            _thread.interrupt_main()
        time.sleep(0.3)
        return 0, ""

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            rollout(tmp_path, 12, deploy, canaries=0, batch=12, parallel=2)
    finally:
        signal.signal(signal.SIGINT, before)
    found = [entry.outcome for entry in Report(tmp_path / "report.json").cameras.values()]
    assert found[:2] == ["kept", "kept"]
    assert found.count("waiting") >= 8
    assert "running" not in found


def test_resuming_skips_what_is_kept_and_what_failed_with_the_same_release_and_configuration(tmp_path):
    report = Report(tmp_path / "report.json")
    name = jobs(1)[0].name
    entries = [
        Entry("kept", name), Entry("rolled_back", name), Entry("running", name), Entry("lost", name),
        Entry("kept", "1.0-bbbbbbbbbbbb"), Entry("kept", name, "another configuration"), Entry("unreachable"),
    ]  # fmt: skip
    for job, entry in zip(jobs(7), entries):
        report.set(job.camera.name, entry)
    report = Report(tmp_path / "report.json")
    todo, kept = fleet._remaining(jobs(7), report, retry=False)
    assert ([job.camera.name for job in todo], kept) == ([f"cam-{i}" for i in range(2, 7)], 1)
    assert report.failures() == ["cam-1"]
    todo, _ = fleet._remaining(jobs(7), report, retry=True)
    assert [job.camera.name for job in todo] == [f"cam-{i}" for i in range(1, 7)]
    assert report.failures() == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "cameras": {}}', '{"format": 1, "cameras": {"a": 1}}',
                                  '{"format": 1, "cameras": {"a": {"outcome": "great"}}}'])  # fmt: skip
def test_a_damaged_report_is_one_line_and_is_not_overwritten(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=r"report\.json: not a report of a rollout: .*expected one, or another"):
        Report(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: [{name: a, host: x}, {name: a, host: y}]", "found a second 'a'"),
        ("cameras: [{name: a, host: x}, {name: b, host: x}]", "found x port 22, which is 'a'"),
        ("cameras: [{name: a, host: -oProxyCommand=id}]", "host: found '-oProxyCommand=id'"),
        ("cameras: [{name: a, host: x y}]", "host: found 'x y'"),
        ("cameras: [{name: ../a, host: x}]", "name: found '../a'"),
        ("cameras: [{name: a, host: x, user: 'a b'}]", "user: found 'a b'"),
        ("cameras: [{name: a, host: x, port: 0}]", "port: found 0"),
        ("cameras: [{name: a, host: x, hots: y}]", "unknown option 'hots'; did you mean 'host'?"),
        ("cameras: [{name: a}]", "cameras[0].host: missing"),
        ("cameras: [{name: a, host: x, config: nothing.yaml}]", "nothing.yaml: no such file"),
        ("cameras: [{name: a, host: x, model: .}]", "found no model.yaml"),
        ("cameras: [a]", "cameras[0]: found"),
        ("cameras: []", "expected a list of 1 to 100,000 cameras"),
        ("cameras: {a: 1}", "expected a list of 1 to 100,000 cameras"),
        ("camera: []", "unknown block 'camera'"),
        ("defaults: {prot: 22}\ncameras: [{name: a, host: x}]", "unknown option 'prot'; did you mean 'port'?"),
        ("", "found an empty file"),
    ],
)
def test_a_mistake_in_the_inventory_is_one_line(tmp_path, text, message):
    (tmp_path / "cameras.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        inventory.read(tmp_path / "cameras.yaml")
    assert message in str(caught.value)
    assert "cameras.yaml" in str(caught.value)


def test_defaults_apply_to_cameras_that_do_not_say_otherwise_and_canaries_come_first(tmp_path):
    (tmp_path / "a.yaml").write_text("source: {type: synthetic}\n")
    (tmp_path / "cameras.yaml").write_text(
        "defaults: {user: admin, port: 2222, config: a.yaml}\n"
        "cameras: [{name: a, host: x}, {name: b, host: y, port: 23, canary: true}]\n"
    )
    first, second = inventory.read(tmp_path / "cameras.yaml")
    assert (first.name, first.target, first.port) == ("b", "admin@y", 23)
    assert (second.name, second.target, second.port) == ("a", "admin@x", 2222)
    assert first.config == tmp_path / "a.yaml"
    assert len(first.config_sha256()) == 64


def deploy_sh(tmp_path, *arguments, ssh="exit 255"):
    """Run deploy.sh with a program `ssh` of our own."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin/ssh").write_text(f"#!/bin/sh\n{ssh}\n")
    (tmp_path / "bin/ssh").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON": sys.executable}
    command = [PROJECT / "deploy.sh", "--inventory", tmp_path / "cameras.yaml", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_an_inventory_with_an_unreachable_half_deploys_nothing(tmp_path, keys):
    listed = ", ".join(f"{{name: cam-{i}, host: cam-{i}, board: amd64}}" for i in range(2))
    (tmp_path / "cameras.yaml").write_text(f"cameras: [{listed}]\n")
    said = tmp_path / "asked"
    ssh = f'case "$*" in *cam-0*) echo "ssh: no route to host" >&2; exit 255;; esac; echo "$*" >>{said}; echo 3.11'
    done = deploy_sh(tmp_path, "--key", keys["ours"], "--no-wheels", ssh=ssh)
    assert done.returncode == 2
    expected = "deploy.sh: 1 of 2 cameras cannot be reached; expected at most 0 (--unreachable); nothing was deployed\n"
    assert done.stderr == expected
    assert "cam-0: unreachable: " in done.stdout
    assert "slots" not in said.read_text()  # neither an installation nor a restart
    report = Report(tmp_path / "cameras.report.json")
    assert outcomes(report) == ["unreachable", "waiting"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--batch", "1o%"], "found '1o%'"), (["--batch", "101%"], "found '101%'"), (["--halt-on", "0"], "found '0'"),
     (["--key", "/nowhere.pem"], "/nowhere.pem: no such file"), (["--release", "/nowhere"], "/nowhere: no such file")],
)  # fmt: skip
def test_wrong_arguments_are_reported(tmp_path, keys, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        fleet.main(["--inventory", str(tmp_path / "cameras.yaml"), "--key", str(keys["ours"]), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_board_stops_before_any_camera_is_asked(tmp_path, keys, capsys):
    (tmp_path / "cameras.yaml").write_text("cameras: [{name: a, host: x, board: rk3558}]\n")
    assert fleet.main(["--inventory", str(tmp_path / "cameras.yaml"), "--key", str(keys["ours"])]) == 2
    assert capsys.readouterr().err == "deploy.sh: --board: found 'rk3558'; did you mean 'rk3588'?\n"


@pytest.mark.parametrize(("text", "total", "number"), [("10%", 100, 10), ("10%", 4, 0), ("100%", 7, 7), ("3", 100, 3)])
def test_a_share_is_a_number_or_a_percentage(text, total, number):
    assert fleet._share(text).of(total) == number
