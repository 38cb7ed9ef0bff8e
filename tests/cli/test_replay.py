"""edge-app replay: precision, and what an interruption leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge_app.cli import main
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
CONFIG = """
device: {{id: cam, state_dir: state}}
source: {{type: synthetic}}
model: {{path: {model}, backend: onnx, precision: {precision}}}
"""


def replayed(folder: Path, precision: str, *arguments: str) -> bytes:
    """The output of a replay of six frames. precision: as configured."""
    path, out = folder / "config.yaml", folder / "out.jsonl"
    path.write_text(CONFIG.format(model=PROJECT / "models/digits", precision=precision), encoding="utf-8")
    command = ["replay", str(CLIP), "-c", str(path), "--out", str(out), "--max-frames", "6", *arguments]
    assert main(command) == 0
    return out.read_bytes()


def test_auto_in_the_configuration_is_float_and_measures_nothing(tmp_path):
    assert replayed(tmp_path, "auto") == replayed(tmp_path, "float")
    assert not (tmp_path / "state").exists()


def test_the_option_replaces_the_configured_precision(tmp_path):
    as_float, as_int8 = replayed(tmp_path, "float"), replayed(tmp_path, "int8")
    assert as_float != as_int8
    assert replayed(tmp_path, "float", "--precision", "int8") == as_int8
    assert replayed(tmp_path, "int8", "--precision", "float") == as_float
    assert replayed(tmp_path, "float", "--precision", "auto") in (as_float, as_int8)
    assert len(list((tmp_path / "state").glob("tune/precision/*/*.yaml"))) == 1


def test_an_interrupted_replay_leaves_whole_messages_in_order(tmp_path):
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "edge_app.cli", "replay", str(CLIP), "--out", str(out)]
    command[:0] = ["env", "--default-signal=INT"]  # a shell's background process ignores it, and its children too
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (out.exists() and out.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    text = out.read_text(encoding="utf-8")
    assert text.endswith("\n")
    messages = [json.loads(line) for line in text.splitlines()]
    frames = [message["frame"] for message in messages if message["kind"] == "result"]
    assert frames == list(range(len(frames)))
