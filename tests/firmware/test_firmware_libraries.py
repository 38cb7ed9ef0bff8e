"""The libraries of a configuration: wheels for what it enables, and a refusal of what the board cannot run."""

from __future__ import annotations

import subprocess
import sys

import pytest

import libraries
from boards import bundles
from tests.firmware.device import FIRMWARE

BOARDS = bundles()
PAGE = {"web": {"enabled": True}}
CLIPS = {"clips": {"enabled": True}}


def wheels(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"PK\5\6" + bytes(18))  # an empty archive
    return folder


def page_wheels(machine):
    return [f"{name.replace('-', '_')}-1.0-cp311-cp311-manylinux2014_{machine}.whl" for name in libraries.pins("web")]


@pytest.mark.parametrize(
    ("config", "board", "lists"),
    [
        ({}, "rk3588", []),
        ({"web": {"enabled": False}, "clips": None}, "rk3588", []),
        (PAGE, "rk3588", ["web"]),
        (PAGE | CLIPS, "amd64", ["web", "clips"]),
        (PAGE | CLIPS, "armhf", ["web"]),  # no wheel of PyAV exists: OpenCV or ffmpeg of the distribution
        (PAGE, "rv1106", ["web"]),
    ],
)
def test_what_a_configuration_enables_decides_which_wheels_come(config, board, lists):
    assert [extra.wheels for extra in libraries.extras(config, BOARDS[board])] == lists


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_every_backend_but_auto_and_the_boards_own_is_refused(board, tmp_path):
    own = BOARDS[board].backend
    for backend in ("auto", own):
        libraries.check({"model": {"backend": backend}}, tmp_path, board, BOARDS[board])
    for backend in {"onnx", "ncnn", "rknn_lite", "rknn_mrt", "mine"} - {own}:
        with pytest.raises(libraries.ConfigurationError, match=f"expected auto or {own}"):
            libraries.check({"model": {"backend": backend}}, tmp_path, board, BOARDS[board])


def test_clips_are_refused_on_a_board_of_64_mb(tmp_path):
    libraries.check(CLIPS, tmp_path, "rv1106", BOARDS["rv1106"])
    with pytest.raises(libraries.ConfigurationError, match="rv1103 has 64 MB"):
        libraries.check(CLIPS, tmp_path, "rv1103", BOARDS["rv1103"])


def test_a_folder_of_wheels_without_what_the_page_needs_is_refused(tmp_path):
    folder = wheels(tmp_path / "wheels", "rknn_toolkit_lite2-2.3-cp311-cp311-manylinux2014_aarch64.whl")
    problems = list(libraries.missing(PAGE, BOARDS["rk3588"], folder.glob("*.whl")))
    assert problems[0] == "found no wheel of aiohttp, which web.enabled: true needs"
    assert len(problems) == len(libraries.pins("web"))


def test_a_wheel_for_another_machine_counts_as_missing(tmp_path):
    folder = wheels(tmp_path / "wheels", *page_wheels("x86_64"))
    problems = list(libraries.missing(PAGE, BOARDS["rv1106"], sorted(folder.glob("*.whl"))))
    assert "found a wheel for manylinux2014_x86_64; expected one for armv7l" in problems[0]
    assert "found no wheel of aiohttp, which web.enabled: true needs" in problems


def test_complete_wheels_are_accepted(tmp_path):
    folder = wheels(tmp_path / "wheels", *page_wheels("armv7l"), "tqdm-4.66.4-py3-none-any.whl")
    assert list(libraries.missing(PAGE, BOARDS["rv1106"], folder.glob("*.whl"))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("web: {enabled: true}\n", "found no wheel of onnxruntime, which the backend onnx needs; run `build.py wheels"),
     ("model: {backend: rknn_lite}\n", "found 'rknn_lite', for which a bundle for amd64 has no graphs"),
     ("a: [\n", "not YAML"), ("[]\n", "found list; expected the blocks of config.yaml"), ("", "found NoneType")],
)  # fmt: skip
def test_a_bundle_that_the_board_cannot_run_is_refused_in_one_line_when_it_is_built(tmp_path, keys, text, message):
    (tmp_path / "config.yaml").write_text(text)
    folder = wheels(tmp_path / "wheels", "tqdm-4.66.4-py3-none-any.whl")
    command = [sys.executable, FIRMWARE / "build.py", "bundle", "--board", "amd64", "--key", keys["ours"]]
    command += ["--wheels", folder, "--camera-config", tmp_path / "config.yaml", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_extra_is_pinned():
    for extra in libraries.EXTRAS:
        lines = (FIRMWARE / f"wheels/{extra.wheels}.txt").read_text().splitlines()
        assert lines[0].startswith("# For configurations with")
        assert all("==" in line for line in lines[1:])
