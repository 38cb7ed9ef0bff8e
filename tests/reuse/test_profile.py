"""The reuse profile: written, read back, and clear errors for a damaged file."""

from __future__ import annotations

import pytest

from edge_app.errors import ConfigError
from edge_app.reuse import profile
from edge_app.reuse.profile import ReuseProfile


def test_a_saved_profile_is_loaded(tmp_path):
    file = tmp_path / "tune" / "x.yaml"
    saved = ReuseProfile("gate", 0.7, 12.0, 0.4, 1.0, {"agreement": 0.99, "frames": 300.0})
    profile.save(file, saved)
    assert profile.load(file) == saved
    assert profile.load(file).frames == 300


def test_a_missing_file_is_an_empty_profile(tmp_path):
    assert profile.load(tmp_path / "none.yaml") == ReuseProfile()


def test_costs_in_a_file_of_an_older_release_are_ignored(tmp_path):
    """They lack the machine that they were measured on."""
    file = tmp_path / "x.yaml"
    file.write_text("costs: {dense: 40, look: 0.2, units: {backbone0: {a: 0.1, b: 8}}}\nverdict: gate\ntolerance: 12\n")
    assert profile.load(file) == ReuseProfile("gate", tolerance=12.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verdict: maybe\n", "maybe"),
        ("noise: -1\n", "noise"),
        ("tolerence: 3\n", "tolerence"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path, text, message):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.yaml:1: .*{message}"):
        profile.load(file)
