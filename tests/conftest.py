"""Fixtures of all tests: the folder of real data, configurations, cleanup of test plug-ins."""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from edge_app.daemon import heap
from edge_app.sources._opencv import silence
from tests import plugins

# The same examples in every run, so that failures are reproducible, and no deadlines on a loaded machine.
settings.register_profile("edge_app", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge_app")
silence()  # before any test opens a clip: FFmpeg reads its log level only once

PROJECT = Path(__file__).parent.parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`pytest -m smoke` reads only files that mention smoke tests: reading all of them takes longer than the tests."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.option.markexpr == "smoke" and is_test:
        return None if "mark.smoke" in collection_path.read_text(encoding="utf-8") else True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A system test that is also marked `long` runs only in `-m long`."""
    if "long" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data in $EDGE_APP_DATA. The test is skipped if it is not set."""
    folder = os.environ.get("EDGE_APP_DATA")
    if not folder:
        pytest.skip("$EDGE_APP_DATA is not set; it is the folder of real clips and models")
    return Path(folder)


@pytest.fixture(autouse=True)
def no_plugins_left():
    """Remove the plug-ins that the test has installed."""
    yield
    plugins.remove()


@pytest.fixture
def config_file(tmp_path: Path):
    """`config_file(text)` writes a configuration and returns its path. PROJECT is the root of the repository."""

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text.replace("PROJECT", str(PROJECT)), encoding="utf-8")
        return path

    return write


@pytest.fixture
def silent_name_server(monkeypatch: pytest.MonkeyPatch):
    """The name of a host for which the resolver does not answer before the test ends."""
    host, over, resolve = "peer.example", threading.Event(), socket.getaddrinfo

    def getaddrinfo(name: str, *arguments: Any, **options: Any) -> Any:
        if name == host:
            over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield host
    over.set()


def anonymous_bytes(process: int | str = "self") -> int:
    """Memory of a process that is not the content of a file: what can leak. Pages of files come and go."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("RssAnon:")[2].split()[0]) << 10


def resident_bytes() -> int:
    """Resident memory of this process, after memory that earlier tests have freed is returned to the system."""
    gc.collect()
    heap.trim()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
