"""The oldest libraries that pyproject.toml allows are sufficient for the daemon and its page.

Installs them from PyPI. Debian packages: python3-venv.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, to read pyproject.toml")

PYTHON = "/usr/bin/python3"
PROBE = "import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))"
OTHERS = ["pytest", "hypothesis"]
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", PROBE], capture_output=True, check=False).returncode,
        reason="needs Python 3.10 or 3.11 with python3-venv: for later ones there are no such old wheels",
    ),
]


def lowest(requirement: str) -> str:
    """`numpy>=1.24` -> `numpy==1.24.*`."""
    name, low = re.findall(r"^([\w.-]+)>=([\d.]+)", requirement)[0]
    return f"{name}=={low}.*"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the oldest version of every library."""
    folder = tmp_path_factory.mktemp("lowest")
    subprocess.run([PYTHON, "-m", "venv", folder], check=True)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [lowest(r) for r in (*project["dependencies"], *project["optional-dependencies"]["web"])]
    subprocess.run([folder / "bin/pip", "install", "-q", *wanted, *OTHERS], check=True, timeout=600)
    return folder / "bin/python"


def test_page_and_daemon_tests_pass_with_the_oldest_libraries(python: Path):
    names = (
        "is_ready_after_the_first_frame_and_stops_cleanly_on_sigterm",
        "reloads_after_a_changed_file_and_after_sighup",
    )
    tests = ["tests/web", *(f"tests/daemon/test_loop.py::test_{name}" for name in names)]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout
