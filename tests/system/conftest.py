"""Fixtures of the tests in a browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.running import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder of screenshots: $EDGE_APP_SCREENSHOTS, or a temporary one."""
    folder = Path(os.environ.get("EDGE_APP_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
