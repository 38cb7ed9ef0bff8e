"""What several tests share: where real data lies, and small models and configurations to run."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edge_app.daemon import heap
from edge_app.sources._opencv import silence
from tests import plugins

# The same examples at every run: a property that fails, fails for everybody; and no stopwatch on a loaded machine.
settings.register_profile("edge_app", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge_app")
silence()  # before any test opens a clip of its own: FFmpeg takes its log level once

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data in $EDGE_APP_DATA; the test is skipped where there is none."""
    folder = os.environ.get("EDGE_APP_DATA")
    if not folder:
        pytest.skip("$EDGE_APP_DATA is not set: real clips and models are not at hand")
    return Path(folder)


@pytest.fixture(autouse=True)
def no_plugins_left():
    """What one test installed, the next does not find."""
    yield
    plugins.remove()


@pytest.fixture
def config_file(tmp_path: Path):
    """Write a configuration: `config_file(text)` -> its path. Relative paths in it start at the project."""

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text.replace("PROJECT", str(PROJECT)), encoding="utf-8")
        return path

    return write


def resident_bytes() -> int:
    """How much memory this process holds now, without what hundreds of tests before left free in its heap."""
    gc.collect()
    heap.give_back()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
