"""A file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from edge_app.commands import atomic_file


@pytest.fixture
def full_disk():
    """Files of this process cannot grow over 100 bytes, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_replaces_the_content_and_keeps_mode_and_links(tmp_path: Path):
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old", encoding="ascii")
    real.chmod(0o640)
    link.symlink_to("real.yaml")
    atomic_file.replace(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "real.yaml"]


def test_makes_a_private_file(tmp_path: Path):
    atomic_file.replace(tmp_path / "new", b"x")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_the_old_file_stays_and_nothing_is_left_over(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"\w"):
        atomic_file.replace(path, b"x" * 200)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_a_temporary_file_of_a_crash_is_replaced_and_a_link_in_its_place_is_not_followed(tmp_path: Path):
    path, other = tmp_path / "config.yaml", tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / ".config.yaml.new").symlink_to("other")
    atomic_file.replace(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"other")


def test_only_an_existing_file_can_be_replaced(tmp_path: Path):
    path = tmp_path / "config.yaml"
    assert not atomic_file.can_replace(path)
    path.write_bytes(b"old")
    assert atomic_file.can_replace(path)
