"""Which Rockchip SoC this is, and which converted file it takes. Not here: loading anything."""

from __future__ import annotations

import re
from pathlib import Path

from edge_app.errors import BackendError

COMPATIBLE = Path("/proc/device-tree/compatible")
SMALL = ("rv1103", "rv1106")  # 32-bit, librknnmrt
LARGE = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rv1126b")  # aarch64, librknnrt
CORES = {"rk3576": 2, "rk3588": 3}  # every other SoC has one core and refuses a core mask
_SAME_FILE = {"rk3568": "rk3566", "rk3588s": "rk3588", "rk3582": "rk3588"}  # one NPU under several names


def target(soc: str, known: tuple[str, ...], compatible: Path = COMPATIBLE) -> str:
    """The key of a graph's file for `soc`; `auto`: this board's. Raises BackendError where it is not of `known`."""
    if soc == "auto":
        soc = detect(compatible) or ""
        if not soc:
            raise BackendError(f"{compatible}: names no Rockchip SoC; expected to run on one of {', '.join(known)}")
    soc = _SAME_FILE.get(soc, soc)
    if soc not in known:
        raise BackendError(f"found the SoC '{soc}'; this backend is for {', '.join(known)}")
    return soc


def detect(compatible: Path = COMPATIBLE) -> str | None:
    """The board's SoC in lower case (`rv1106`), None where the device tree names none."""
    try:
        text = compatible.read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    found = re.findall(r"rockchip,(rv1126b|rk3588s|r[kv]\d{4})", text)
    return found[-1] if found else None  # the board's own name comes first, the SoC's last
