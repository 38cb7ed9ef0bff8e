"""The power of this board, for `edge-app doctor`: governors and frequencies, and energy where a sensor measures it.

Reads files only. Not here: lowering them while nothing happens (pipeline/idle.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_app.cli.findings import Finding

_SLOW = ("powersave", "userspace")
_NO_SENSOR = "no sensor of power or energy on this board"


def check(root: Path) -> Iterator[Finding]:
    """Governor and frequencies of each CPU cluster, of the NPU and of the memory; watts where there is a sensor."""
    clusters = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    for cluster in clusters:
        cores = " ".join(_text(cluster / "related_cpus").split()) or "?"
        governor = _text(cluster / "scaling_governor")
        clock = _range(*(_mhz(cluster / f"scaling_{name}_freq", 1e3) for name in ("cur", "min", "max")))
        yield _finding(f"CPU {cores}", governor, clock)
    if not clusters:
        yield Finding("power", "absent", "no cpufreq: the CPU's clock cannot be read or set")
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        kind = {"npu": "NPU", "dmc": "memory"}.get(next((word for word in ("npu", "dmc") if word in device.name), ""))
        if kind is not None:
            clock = _range(*(_mhz(device / f"{name}_freq", 1e6) for name in ("cur", "min", "max")))
            yield _finding(f"{kind} {device.name}", _text(device / "governor"), clock)
    yield from _sensors(root)


def _finding(what: str, governor: str, clock: str) -> Finding:
    fixed = governor in _SLOW
    note = "; the clock does not rise under load" if fixed else ""
    return Finding("power", "warn" if fixed else "ok", f"{what}: governor {governor or 'unknown'}, {clock}{note}")


def _sensors(root: Path) -> Iterator[Finding]:
    """Power in microwatts by hwmon, energy in microjoules by hwmon or powercap."""
    found = False
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*/power*_input")):
        value = _text(sensor)
        if value.isdigit():
            found = True
            name = _text(sensor.parent / "name") or sensor.parent.name
            yield Finding("energy", "ok", f"{name} {sensor.name.removesuffix('_input')}: {int(value) / 1e6:.2f} W")
    meters = [
        *(root / "sys/class/hwmon").glob("hwmon*/energy*_input"),
        *(root / "sys/class/powercap").glob("*/energy_uj"),
    ]
    for meter in sorted(meters):
        value = _text(meter)
        if value.isdigit():
            found = True
            name = _text(meter.parent / "name") or meter.parent.name
            yield Finding("energy", "ok", f"{name}: {int(value) / 1e6:,.0f} J counted")
    if not found:
        yield Finding("energy", "absent", _NO_SENSOR)


def _range(current: float | None, lowest: float | None, highest: float | None) -> str:
    now, low, high = ("?" if each is None else f"{each:,.0f}" for each in (current, lowest, highest))
    return f"{now} MHz of {low} to {high}"


def _mhz(path: Path, per_mhz: float) -> float | None:
    value = _text(path)
    return int(value) / per_mhz if value.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
