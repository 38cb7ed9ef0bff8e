"""The identity of this device: the serial number of the SoC, else a MAC address. Flashing clones the machine-id."""

from __future__ import annotations

import re
from pathlib import Path

from edge_app.errors import ConfigError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def device_id(configured: str, *, replay: bool = False, root: Path = Path("/")) -> str:
    """The configured id; for `auto` the serial number of the SoC, else a MAC address, else ConfigError.

    In a replay `auto` is "replay", so that its output is the same on every machine.
    """
    if configured != "auto":
        return configured
    if replay:
        return "replay"
    identity = _soc_serial(root) or _mac_address(root)
    if identity is None:
        raise ConfigError("device.id: auto found no SoC serial number and no network card; expected an explicit id")
    return identity


def _soc_serial(root: Path) -> str | None:
    text = _read(root / "proc/device-tree/serial-number") or _read(root / "sys/firmware/devicetree/base/serial-number")
    if text is None:
        serial = re.search(r"^Serial\s*:\s*(\w+)", _read(root / "proc/cpuinfo") or "", re.MULTILINE)
        text = serial[1] if serial else None
    cleaned = _UNSAFE.sub("", text or "")
    return cleaned if cleaned.strip("0") else None


def _mac_address(root: Path) -> str | None:
    """The address of the first physical card, else of any card. All zeros do not count."""
    cards = sorted((root / "sys/class/net").glob("*"), key=lambda card: (not (card / "device").exists(), card.name))
    for card in cards:
        address = (_read(card / "address") or "").strip().replace(":", "")
        if address.strip("0"):
            return address
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip("\0\n ")
    except OSError:
        return None
