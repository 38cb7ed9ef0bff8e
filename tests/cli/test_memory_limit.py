"""An allocation beyond the limit fails, in Python and in the engine, as an error of one line."""

import os
import resource
import subprocess
import sys

from edge_app.cli.memory_limit import limit_data
from tests.cli.test_model_check import huge

SCRIPT = """
import numpy as np
from edge_app.cli.memory_limit import limit_data
assert limit_data(64 << 20) == 64 << 20
np.zeros(16 << 20, np.uint8)
try:
    np.zeros(128 << 20, np.uint8)
except MemoryError:
    print("refused")
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)


def test_more_than_the_limit_is_refused():
    assert run("-c", SCRIPT).stdout == "refused\n"


def test_the_default_is_the_memory_of_this_machine():
    script = "from edge_app.cli.memory_limit import limit_data; print(limit_data())"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert int(run("-c", script).stdout) == max(physical, 1 << 30)


def test_a_lower_limit_of_the_system_stays():
    script = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({1 << 29}, {1 << 29}))" + (
        "; from edge_app.cli.memory_limit import limit_data; limit_data(); print(resource.getrlimit(2))"
    )
    assert resource.RLIMIT_DATA == 2
    assert run("-c", script).stdout == f"({1 << 29}, {1 << 29})\n"


def test_a_sandbox_that_forbids_limits_is_no_error(monkeypatch):
    def forbidden(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")  # what Python makes of EPERM

    monkeypatch.setattr(resource, "setrlimit", forbidden)
    assert limit_data() >= 1 << 30


def test_a_model_that_asks_for_256_gb_ends_a_replay_with_one_line(tmp_path):
    huge(tmp_path)
    (tmp_path / "config.yaml").unlink()
    done = run("-m", "edge_app", "replay", "models/digits/sample.mp4", "--model", str(tmp_path), "--max-frames", "1")
    assert done.returncode == 3, done.stderr
    assert "onnxruntime failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
