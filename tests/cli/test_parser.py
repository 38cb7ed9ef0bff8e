"""The command line as a whole: limits of the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

COMMAND = "ulimit -v {limit_kb}; exec {python} -m edge_app {command}"


@pytest.mark.parametrize("command", ["check -c config.yaml", "run -c config.yaml --max-frames 1", "doctor"])
def test_an_address_space_too_small_for_opencv_is_one_line_instead_of_a_segmentation_fault(command):
    shell = COMMAND.format(limit_kb=400_000, python=sys.executable, command=command)
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 2
    assert done.stderr == (
        "address space: found a limit of 390 MB (ulimit -v, LimitAS=); expected none or 1024 MB; "
        "limit the memory with MemoryMax=\n"
    )


def test_the_smallest_address_space_suffices():
    shell = COMMAND.format(limit_kb=1024 * 1024, python=sys.executable, command="check -c config.yaml")
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert (done.returncode, done.stderr) == (0, "")


def completions(line: str, tmp_path) -> list[str]:
    """What the shell gets for a line, as `register-python-argcomplete edge-app` asks for it."""
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    environ = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\n",
    }
    shell = f"exec {sys.executable} -m edge_app 8>{answer} 9>/dev/null"
    subprocess.run(["sh", "-c", shell], env=environ, check=False, cwd=PROJECT)
    return [word.strip() for word in answer.read_text(encoding="utf-8").split("\n")]


def test_the_shell_completes_commands_options_and_choices(tmp_path):
    assert {"replay"} == set(completions("edge-app repl", tmp_path))
    assert {"--source"} == set(completions("edge-app run --so", tmp_path))
    assert {"journal", "json"} == set(completions("edge-app run --log j", tmp_path))
