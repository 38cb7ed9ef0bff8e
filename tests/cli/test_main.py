"""The commands as a user runs them: output, exit codes, and one line per error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edge_app.cli import main
from tests.conftest import PROJECT
from tests.schema import strict

CLIP = PROJECT / "models/digits/sample.mp4"
CONFIG = PROJECT / "config.yaml"


def edge_app(*arguments: object, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_app.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "WARNING"))]
    for part in parts:
        assert part in line


def test_help_lists_every_command():
    done = edge_app("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("run", "replay", "check", "bench", "tune", "schema"))


def test_a_replay_publishes_every_frame_in_valid_messages(tmp_path: Path):
    out = tmp_path / "results.jsonl"
    assert edge_app("replay", CLIP, "--out", out, "--max-frames", 30).returncode == 0
    validator = strict(json.loads(edge_app("schema").stdout))
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        validator.validate(line)
    assert [line["frame"] for line in lines if line["kind"] == "result"] == list(range(30))


def test_two_replays_print_the_same_bytes():
    first, second = (edge_app("replay", CLIP, "--max-frames", 40).stdout for _ in range(2))
    assert first == second
    assert first.count("\n") >= 40


def test_an_annotated_clip_has_the_size_and_length_of_the_original(tmp_path: Path):
    drawn = tmp_path / "drawn.webm"
    done = edge_app("replay", CLIP, "--out", tmp_path / "r.jsonl", "--draw", drawn, "--max-frames", 12)
    assert done.returncode == 0, done.stderr
    found, original = cv2.VideoCapture(str(drawn)), cv2.VideoCapture(str(CLIP))
    size = [int(found.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    assert size == [int(original.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    assert found.get(cv2.CAP_PROP_FPS) == pytest.approx(original.get(cv2.CAP_PROP_FPS), rel=0.02)
    frames = 0
    while found.read()[0]:
        frames += 1
    assert frames == 12


def test_run_publishes_and_stops_after_max_frames(tmp_path: Path):
    done = edge_app("run", "-c", write_config(tmp_path), "--max-frames", 5)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["kind"] in ("result", "status")


def test_run_stops_cleanly_on_sigterm(tmp_path: Path):
    path = write_config(tmp_path, "source: {type: synthetic, fps: 20}")
    command = [sys.executable, "-m", "edge_app.cli", "run", "-c", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline()  # it is running
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert time.monotonic() - began < 3
    assert all(json.loads(line) for line in rest.splitlines()), "the last line is complete"


@pytest.mark.parametrize("path", ["config.yaml", "models/digits/sample.yaml"])
def test_check_passes_on_the_shipped_configurations(path: str):
    done = edge_app("check", "-c", path)
    assert done.returncode == 0, done.stdout
    assert "golden" in done.stdout
    assert "FAIL" not in done.stdout


def test_check_detects_a_model_whose_outputs_differ(tmp_path: Path):
    """The hash matches and the graph loads, but its outputs differ from the golden vectors."""
    import onnx
    from onnx import numpy_helper

    folder = copy_model(tmp_path)
    graph = onnx.load(folder / "scene.onnx")
    weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.5, weights.name))
    onnx.save(graph, folder / "scene.onnx")
    without_hashes(folder)
    done = edge_app("check", "--model", folder, "--json")
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert not report["ok"]
    assert [f["what"] for f in report["findings"] if f["verdict"] == "fail"] == [
        "golden, in parts"
    ]  # the fused graph is unchanged


def test_check_constructs_sinks_without_touching_files(tmp_path: Path):
    model, clip = PROJECT / "models/digits", PROJECT / CLIP
    (tmp_path / "config.yaml").write_text(
        f"source: {{type: video, path: {clip}}}\nmodel: {{path: {model}}}\n"
        "sinks:\n  - {type: jsonl, path: results.jsonl, append: false}\n"
        "  - {type: http, url: 'http://example.org', token: env:NO}\n",
        encoding="utf-8",
    )
    (tmp_path / "results.jsonl").write_text("{}\n")
    done = edge_app("check", "-c", tmp_path / "config.yaml")
    assert done.returncode == 2
    assert "config.yaml:5: sink 'http': env:NO: the environment has no such" in done.stdout
    assert (tmp_path / "results.jsonl").read_text() == "{}\n"


# Bad input: one line, the documented exit code, no traceback.


def test_a_missing_video():
    assert_one_line(edge_app("replay", "nowhere.mp4"), 2, "nowhere.mp4", "expected")


def test_a_text_file_named_mp4(tmp_path: Path):
    path = tmp_path / "text.mp4"
    path.write_text("not a video\n" * 100, encoding="utf-8")
    assert_one_line(edge_app("replay", path), 2, "text.mp4", "expected")


def test_a_truncated_video_keeps_the_published_results(tmp_path: Path):
    path, out = tmp_path / "cut.avi", tmp_path / "out.jsonl"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(60):
        writer.write(cv2.randu(cv2.UMat(120, 160, cv2.CV_8UC3), 0, 255).get())
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert_one_line(edge_app("replay", path, "--out", out), 2, "cut.avi")
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 10
    assert all(json.loads(line)["kind"] in ("result", "event") for line in lines)


def test_a_zero_byte_image_in_a_folder(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"")
    assert_one_line(edge_app("replay", tmp_path), 2, "a.png")


def test_a_model_file_whose_hash_differs(tmp_path: Path):
    folder = copy_model(tmp_path)
    with (folder / "panel.onnx").open("ab") as file:
        file.write(b"\0")
    done = edge_app("replay", CLIP, "--model", folder)
    assert_one_line(done, 2, "panel.onnx: sha256 is ", "expected", "changed or damaged")
    assert "ONNX graph" not in done.stderr  # the file is still a valid graph


def test_a_manifest_that_names_a_missing_tensor(tmp_path: Path):
    folder = copy_model(tmp_path, ("c8, c16", "c8, c17"))
    assert_one_line(edge_app("replay", CLIP, "--model", folder), 2, "c17")


def test_a_wrong_input_shape(tmp_path: Path):
    folder = copy_model(tmp_path, ("width: 320", "width: 256"))
    assert_one_line(edge_app("replay", CLIP, "--model", folder), 2, "model.yaml", "256", "320")


def test_an_unknown_family(tmp_path: Path):
    folder = copy_model(tmp_path, ("family: classify", "family: clasify"))
    assert_one_line(edge_app("replay", CLIP, "--model", folder), 2, "model.yaml:", "did you mean 'classify'")


def test_an_unwritable_output_path():
    assert_one_line(edge_app("replay", CLIP, "--out", "/nonexistent/x.jsonl"), 2, "/nonexistent/x.jsonl")
    assert_one_line(edge_app("replay", CLIP, "--draw", "/nonexistent/x.mp4"), 2, "/nonexistent/x.mp4")


def test_an_unreachable_rtsp_server(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = write_config(tmp_path)
    done = edge_app("run", "-c", config, "--source", f"rtsp://user:secret@127.0.0.1:{port}/x")
    assert_one_line(done, 3, f"127.0.0.1:{port}")
    assert "secret" not in done.stderr


def test_a_missing_camera(tmp_path: Path):
    assert_one_line(edge_app("run", "-c", write_config(tmp_path), "--source", "/dev/video99"), 3, "/dev/video99")


def test_a_live_source_cannot_be_replayed():
    assert_one_line(edge_app("replay", "/dev/video99"), 2, "live source")


def test_a_missing_configuration(tmp_path: Path):
    assert_one_line(edge_app("check", "-c", tmp_path / "c.yaml"), 2, "c.yaml: cannot be read")


def test_a_privacy_mask_that_crosses_itself(tmp_path: Path):
    star = "[[0.5, 0], [0.8, 1], [0, 0.4], [1, 0.4], [0.2, 1]]"
    path = tmp_path / "c.yaml"
    path.write_text(f"source:\n  type: synthetic\n  mask: [{star}]\nmodel: {{path: {PROJECT}/models/digits}}\n")
    assert_one_line(edge_app("run", "-c", path), 2, "c.yaml:3: source.mask: found a polygon that crosses")


def test_a_folder_without_a_configuration(tmp_path: Path):
    """Commands about messages that a daemon has stored do not invent a configuration."""
    done = edge_app("outbox", "stats", cwd=tmp_path)
    assert_one_line(done, 2, "config.yaml: found none in this folder", "--config FILE", "edge-app init")


def test_commands_that_need_no_daemon_use_the_demo_where_there_is_no_configuration(tmp_path: Path):
    done = edge_app("replay", CLIP, "--max-frames", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("config.yaml: none in this folder; using the demo's (`edge-app init` writes it)\n")
    results = [m for m in map(json.loads, done.stdout.splitlines()) if m["kind"] == "result"]
    assert [message["frame"] for message in results] == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("stat", "edge-app: argument COMMAND: found 'stat'; did you mean 'status'?"),
        ("run --sorce x", "edge-app run: found '--sorce'; did you mean '--source'?"),
        ("bench pipline", "edge-app bench: argument BENCHMARK: found 'pipline'; did you mean 'pipeline'?"),
        ("run --log jsn", "edge-app run: argument --log: found 'jsn'; did you mean 'json'?"),
        ("init a b", "edge-app init: found 'b'; expected no such argument; see --help"),
        ("", "edge-app: the following arguments are required: COMMAND; see --help"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_that_names_the_nearest(capsys, arguments, answer):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert (caught.value.code, capsys.readouterr().err) == (2, answer + "\n")


def test_a_closed_pipe_is_not_an_error(tmp_path: Path):
    """`edge-app replay … | head -1`."""
    script = f"{sys.executable} -m edge_app.cli replay {CLIP} | head -1"
    done = subprocess.run(script, shell=True, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["seq"] == 0
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line():
    assert_one_line(edge_app("replay", CLIP, "--out", "/dev/full"), 2, "/dev/full")


def write_config(folder: Path, source: str = "source: {type: video, path: PROJECT/models/digits/sample.mp4}") -> Path:
    path = folder / "config.yaml"
    text = f"{source}\ndevice: {{id: t, state_dir: state}}\nmodel: {{path: PROJECT/models/digits}}\n"
    text += "publish: {results: all}\nsinks: [{type: jsonl, path: '-'}]\n"
    path.write_text(text.replace("PROJECT", str(PROJECT)), encoding="utf-8")
    return path


def copy_model(tmp_path: Path, *edits: tuple[str, str]) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(PROJECT / "models/digits", folder, ignore=shutil.ignore_patterns("sample*"))
    manifest = folder / "model.yaml"
    text = manifest.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    manifest.write_text(text, encoding="utf-8")
    return folder


def without_hashes(folder: Path) -> None:
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text[: text.index("\nsha256:")] + "\n", encoding="utf-8")
