"""device_id, with the files of /proc and /sys of boards and laptops."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.device import device_id
from edge_app.errors import ConfigError


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


CARDS = {"sys/class/net/lo/address": "00:00:00:00:00:00\n", "sys/class/net/eth0/address": "02:aa:bb:cc:dd:ee\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/device-tree/serial-number": "a1b2c3d4e5f60718\0", **CARDS}, "a1b2c3d4e5f60718"),
        ({"proc/cpuinfo": "processor : 0\nSerial\t\t: 2b3f00d1\n", **CARDS}, "2b3f00d1"),
        ({"proc/cpuinfo": "Serial : 0000000000000000\n", **CARDS}, "02aabbccddee"),
        (CARDS, "02aabbccddee"),
        (
            {**CARDS, "sys/class/net/wlan0/address": "06:00:00:00:00:01", "sys/class/net/wlan0/device/x": ""},
            "060000000001",
        ),
    ],
)
def test_auto_uses_the_serial_number_then_a_physical_card(tmp_path: Path, files: dict[str, str], expected: str):
    assert device_id("auto", root=write(tmp_path, files)) == expected


def test_a_configured_id_is_used_and_a_replay_has_a_fixed_one(tmp_path: Path):
    root = write(tmp_path, CARDS)
    assert device_id("door-3", root=root) == "door-3"
    assert device_id("door-3", replay=True, root=root) == "door-3"
    assert device_id("auto", replay=True, root=root) == "replay"


def test_a_board_without_an_identity_raises(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"device\.id: auto found no .*; expected an explicit id"):
        device_id("auto", root=tmp_path)
