"""Fixtures of the updater's tests: signing keys, and a device in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.firmware.device import Camera, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> dict[str, Path]:
    """Private keys by name; the public keys are next to them."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def camera(tmp_path, keys) -> Camera:
    return Camera(tmp_path, keys)
