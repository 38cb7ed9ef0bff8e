"""Detect the Rockchip SoC and choose the graph file for it. Not here: loading the file."""

from __future__ import annotations

import re
from pathlib import Path

from edge_app.errors import BackendError

COMPATIBLE = Path("/proc/device-tree/compatible")
SMALL = ("rv1103", "rv1106")  # 32-bit, librknnmrt
LARGE = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rv1126b")  # aarch64, librknnrt
CORES = {"rk3576": 2, "rk3588": 3}  # all other SoCs have one core and reject a core mask
_ALIASES = {"rk3568": "rk3566", "rk3588s": "rk3588", "rk3582": "rk3588"}  # SoCs with the same NPU


def target(soc: str, supported: tuple[str, ...], compatible: Path = COMPATIBLE) -> str:
    """The key of the graph files for `soc`, `auto` for this board. Raises BackendError if it is not in `supported`."""
    if soc == "auto":
        soc = detect(compatible) or ""
        if not soc:
            raise BackendError(f"{compatible}: found no Rockchip SoC; expected one of {', '.join(supported)}")
    soc = _ALIASES.get(soc, soc)
    if soc not in supported:
        raise BackendError(f"found the SoC '{soc}'; this backend supports {', '.join(supported)}")
    return soc


def detect(compatible: Path = COMPATIBLE) -> str | None:
    """The board's SoC in lower case (`rv1106`); None if the device tree contains no Rockchip SoC."""
    try:
        text = compatible.read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    names = re.findall(r"rockchip,(rv1126b|rk3588s|r[kv]\d{4})", text)
    return names[-1] if names else None  # the names of the board precede the name of the SoC
