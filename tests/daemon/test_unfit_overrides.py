"""A device whose overrides.yaml no longer fits its config.yaml starts, says so, and keeps the masks."""

from __future__ import annotations

import json
import signal

import pytest

from edge_app.cli import main
from edge_app.config.overrides import FILE
from edge_app.daemon.status_socket import request_status
from tests.running import Running

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 20}
model: {path: PROJECT/models/digits}
heads: {scene: {}}
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
"""
UNFIT = """\
source: {mask: [[[0, 0], [0.2, 0], [0.2, 0.2]]]}
heads: {digits: {score: 0.5}}
rules: {gone: {dwell_s: 1}}
"""
MISTAKE = f"{FILE}:3: rules.gone: config.yaml has no such rule"


@pytest.fixture
def path(config_file, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_text(UNFIT, encoding="utf-8")
    return config_file(TEXT)


def test_starts_with_config_yaml_and_reports_a_fault_until_the_file_is_gone(path):
    overrides = path.parent / "state" / FILE
    with Running(path) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        (fault,) = running.messages()
        assert (fault["value"]["code"], fault["value"]["severity"]) == ("overrides_unfit", "error")
        assert MISTAKE in fault["value"]["text"]
        assert MISTAKE in running.errors()
        assert request_status(path.parent / "state")["overrides"] == ["source.mask"]
        overrides.unlink()
        running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        running.until(lambda: len(running.messages()) == 2)
        assert running.messages()[1]["type"] == "end"

        overrides.write_text(UNFIT, encoding="utf-8")  # while it runs, what is in effect stays
        running.wait_for("RELOADING=1")
        assert MISTAKE in running.wait_for("READY=1")
        running.stop(signal.SIGTERM)
        assert len(running.messages()) == 2


def test_check_names_the_line(path, capsys):
    assert main(["check", "-c", str(path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    (failed,) = [finding for finding in found["findings"] if finding["verdict"] == "fail"]
    assert MISTAKE in failed["text"]
