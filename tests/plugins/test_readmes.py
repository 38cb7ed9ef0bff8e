"""The plug-ins in the READMEs work as installed packages, and every mistake in one is reported in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.plugins import readmes

EXAMPLES = {kind: readmes.example(kind) for kind in readmes.KINDS}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with all five packages, installed by setuptools from their pyproject.toml."""
    folder = tmp_path_factory.mktemp("plugins")
    projects = [readmes.write_project(each, folder / each.module) for each in EXAMPLES.values()]
    readmes.install_projects(projects, folder / "installed")
    return folder / "installed"


@pytest.mark.parametrize("kind", readmes.KINDS)
def test_an_example_passes_its_own_test(kind, installed, tmp_path):
    (tmp_path / "test_it.py").write_text(EXAMPLES[kind].test, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{installed}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", readmes.KINDS)
def test_an_example_passes_check(kind, installed, tmp_path):
    done = readmes.edge_app(installed, "check", "-c", readmes.write_config(kind, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize("kind", readmes.KINDS)
def test_an_example_is_lint_free(kind, tmp_path):
    for text in (EXAMPLES[kind].code, EXAMPLES[kind].test):
        (tmp_path / "it.py").write_text(text, encoding="utf-8")
        rules = ["--isolated", "--no-cache", "--select", "E,F,W,B,UP", "--ignore", "B905", "--line-length", "120"]
        command = [sys.executable, "-m", "ruff", "check", *rules, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def run(installed: Path, config: Path) -> list[dict[str, object]]:
    done = readmes.edge_app(installed, "run", "-c", config)
    assert done.returncode == 0, done.stderr
    out = config.with_name("out.jsonl")
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def test_frames_of_the_source_reach_a_sink(installed, tmp_path):
    messages = run(installed, readmes.write_config("sources", tmp_path))
    assert [m["resolution"] for m in messages if m["kind"] == "result"] == [[96, 64], [96, 64]]


def test_the_backend_computes_what_onnx_computes(installed, tmp_path):
    config = readmes.write_config("backends", tmp_path)
    clip = PROJECT / "models/digits/sample.mp4"
    outputs = []
    for backend in ("gpu", "onnx"):
        config.write_text(re.sub(r"backend: \w+", f"backend: {backend}", config.read_text(encoding="utf-8")))
        done = readmes.edge_app(installed, "replay", clip, "-c", config, "--max-frames", "10")
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] != ""


def test_results_of_the_head_reach_a_sink(installed, tmp_path):
    messages = run(installed, readmes.write_config("heads", tmp_path))
    (found,) = messages[0]["heads"]["cars"]["detections"]
    assert (found["label"], found["score"]) == ("car", 0.9)
    assert found["box"] == [0.25, 0.1667, 0.75, 0.8333]  # the input is square, the image 640x480


def test_events_of_the_rule_reach_a_sink(installed, tmp_path):
    messages = run(installed, readmes.write_config("rules", tmp_path))
    events = [m for m in messages if m["kind"] == "event"]
    assert [(e["type"], e["rule"], e["value"]) for e in events] == [
        ("new", "seen", {"label": "car"}),
        ("end", "seen", {"label": "car", "reason": "end_of_clip"}),
    ]


def test_the_sink_writes_events(installed, tmp_path):
    run(installed, readmes.write_config("sinks", tmp_path))
    lines = (tmp_path / "events.csv").read_text(encoding="utf-8").splitlines()
    assert lines
    assert all(line.split(",")[1:3] == ["cam", "camera"] for line in lines)


DECODED = "rows[:, 1].astype(np.int32)"
MISTAKES = [
    ("heads", "spec: HeadSpec, *, score", "spec: HeadSpec, score", "found option 'score', which is not keyword-only"),
    ("heads", "score: Fraction = 0.5", "score=0.5", "found option 'score' without a type annotation"),
    ("heads", "class Head:", "class Haed:", "found the class Haed; expected the class Head"),
    ("heads", "score: Fraction = 0.5", "score: set[float] = 0.5", "found option 'score' of type 'set[float]'"),
    ("heads", "score: Fraction = 0.5", "score: Fracton = 0.5", "that cannot be resolved: name 'Fracton' is not"),
    ("heads", DECODED, "rows[:, 1]", "decode: class_id: found float32(1,), expected int32(1,)"),
    ("heads", DECODED, DECODED + "[:, None]", "decode: class_id: found int32(1, 1), expected int32(1,)"),
    ("heads", DECODED, DECODED + ".tolist()", "decode: class_id: found list, expected int32(1,)"),
    ("heads", "return Detections(xyxy,", "return (xyxy,", "decode: found tuple; expected Detections"),
    ("heads", "    result_type = Detections\n", "", "class Head has no 'result_type'; expected decode,"),
    ("heads", "result_type = Detections", 'result_type = "boxes"', "found result_type 'boxes'; expected Detections"),
    ("heads", "import numpy as np", "import nonesuch", "needs the library nonesuch; expected: the Python"),
    ("heads", "class Head:", "class Head", "import failed: SyntaxError: expected ':'"),
    ("sources", "    live = None", "    life = None", "class Source has no 'live'; expected close, live, read"),
    ("sources", "clock: Clock,\n        *,", "*,\n        clock: Clock,", "found no argument 'clock'; expected"),
    ("sources", "def close", "def shut", "class Source has no 'close'"),
    ("backends", "    preference = 5", "    rank = 5", "class Backend has no 'preference'"),
    ("backends", "self.version =", "self._version =", "class Backend has no 'version'"),
    ("backends", "threads: Positive", "cores: Positive", "found the options cores, precision; expected "),
    ("rules", "def finish", "def end", "class Rule has no 'finish'; expected finish, overlay, step"),
    (
        "rules",
        "for_s: Seconds = 2.0",
        "**options: object",
        "found the argument '**options'; expected Rule(context, *, ",
    ),
    ("rules", "for_s: Seconds = 2.0", "enabled: Seconds = 2.0", "found option 'enabled', which all rules have"),
    ("sinks", "    batch_limit = 100", "    batch_size = 100", "class Sink has no 'batch_limit'"),
    ("sinks", "def idle", "def wait", "class Sink has no 'idle'"),
]


@pytest.mark.parametrize(("kind", "right", "wrong", "expected"), MISTAKES, ids=[f"{m[0]}-{m[2]}" for m in MISTAKES])
def test_a_mistake_is_one_line_from_check(kind, right, wrong, expected, tmp_path):
    plugin = EXAMPLES[kind]
    assert right in plugin.code
    entry_points = f"[edge_app.{kind}]\n{plugin.type} = {plugin.module}\n"
    installed = tmp_path / "installed"
    readmes.install(installed, "mistaken", plugin.module, plugin.code.replace(right, wrong, 1), entry_points)
    if kind == "rules":  # its model
        ssd = EXAMPLES["heads"]
        readmes.install(installed, "my_ssd", ssd.module, ssd.code, f"[edge_app.heads]\n{ssd.type} = {ssd.module}\n")
    done = readmes.edge_app(installed, "check", "-c", readmes.write_config(kind, tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("ok", "WARN"))]
    assert len(lines) == 1, lines
    assert expected in lines[0]
    assert f"'{plugin.type}'" in lines[0] or f"(family {plugin.type})" in lines[0]


@pytest.mark.parametrize("command", ["run", "replay"])
def test_other_commands_report_a_mistake_like_check(command, tmp_path):
    plugin = EXAMPLES["heads"]
    code = plugin.code.replace("    result_type = Detections\n", "")
    installed = tmp_path / "installed"
    readmes.install(installed, "mistaken", plugin.module, code, "[edge_app.heads]\nmy_ssd = edge_app_my_ssd\n")
    config = readmes.write_config("heads", tmp_path)
    arguments = [PROJECT / "models/digits/sample.mp4"] if command == "replay" else []
    done = readmes.edge_app(installed, command, *arguments, "-c", config)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "class Head has no 'result_type'" in done.stderr


def test_replay_reports_a_wrong_result_in_one_line(tmp_path):
    plugin = EXAMPLES["heads"]
    installed = tmp_path / "installed"
    code = plugin.code.replace(DECODED, "rows[:, 1]")
    readmes.install(installed, "mistaken", plugin.module, code, "[edge_app.heads]\nmy_ssd = edge_app_my_ssd\n")
    config = readmes.write_config("heads", tmp_path)
    done = readmes.edge_app(installed, "replay", PROJECT / "models/digits/sample.mp4", "-c", config)
    assert (done.returncode, done.stdout, done.stderr) == (
        2, "", "heads.cars (family my_ssd): decode: class_id: found float32(1,), expected int32(1,)\n"
    )  # fmt: skip
