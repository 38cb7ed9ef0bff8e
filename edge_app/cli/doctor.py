"""edge-app doctor: what this board has, what it lacks, and what is wrong with it; on a laptop it says what is absent.

Files only: nothing is opened that another program may hold (cameras, the NPU). Not here: the configuration (check.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_app.backends import _soc
from edge_app.clock import SystemClock
from edge_app.pipeline.sensors import BoardSensors

Verdict = Literal["ok", "absent", "warn"]

_MARKS: dict[Verdict, str] = {"ok": "ok    ", "absent": "absent", "warn": "WARN  "}
_LIBRARIES = ("librknnmrt.so", "librknnrt.so")
_FOLDERS = ("usr/lib", "usr/lib64", "lib", "oem/usr/lib", "usr/local/lib", "usr/lib/aarch64-linux-gnu")
_PACKAGES = ("numpy", "opencv-python-headless", "PyYAML", "onnxruntime", "rknn-toolkit-lite2", "paho-mqtt", "aiohttp")
_RUNTIME_VERSION = re.compile(rb"librknnm?rt version: ([\x20-\x7e]{1,80})")
_NPU_NODES = ("dev/rknpu", "dev/dri/card1", "dev/dri/renderD129")
_NPU_VERSION = ("sys/kernel/debug/rknpu/version", "proc/rknpu/version", "sys/module/rknpu/version")
_NPU_LOAD = ("sys/kernel/debug/rknpu/load", "proc/rknpu/load")
_WORN = 0x08  # of eMMC's life time: 70 to 80 % used
_HOT_C = 85.0
_LEAST_FREE = 0.05


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked for. area: what it belongs to."""

    area: str
    verdict: Verdict
    text: str


def examine(root: Path = Path("/")) -> list[Fact]:
    """Look at everything below `root`; never fails for what is not there."""
    looks: tuple[Callable[[Path], Iterator[Fact]], ...]
    looks = (_board, _npu, _runtime, _packages, _cameras, _memory, _heat, _clock, _flash)
    return [fact for look in looks for fact in look(root)]


def as_table(facts: list[Fact]) -> str:
    """A line a fact: verdict, area, text."""
    width = max(len(fact.area) for fact in facts)
    return "\n".join(f"{_MARKS[f.verdict]}  {f.area:<{width}}  {f.text}" for f in facts)


def as_json(facts: list[Fact]) -> str:
    """One object: `ok` (nothing to warn of), and the facts."""
    return json.dumps(
        {"ok": all(fact.verdict != "warn" for fact in facts), "facts": [asdict(fact) for fact in facts]},
        ensure_ascii=False,
    )


def _board(root: Path) -> Iterator[Fact]:
    machine = os.uname()
    model = _text(root / "proc/device-tree/model")
    yield Fact("board", "ok" if model else "absent", model or "no device tree: not a board that boots with one")
    soc = _soc.detect(root / "proc/device-tree/compatible")
    yield Fact("soc", "ok" if soc else "absent", soc or "no Rockchip SoC: inference runs on the CPU")
    yield Fact("kernel", "ok", f"{machine.sysname} {machine.release} {machine.machine}, {os.cpu_count()} cores")


def _npu(root: Path) -> Iterator[Fact]:
    node = next((name for name in _NPU_NODES[:1] if (root / name).exists()), None)
    version = _first(root, _NPU_VERSION)
    if version and node is None:  # kernels whose driver is a DRM one
        node = next((name for name in _NPU_NODES[1:] if (root / name).exists()), None)
    if node is None and not version:
        yield Fact("npu driver", "absent", "no /dev/rknpu and no rknpu in /proc or /sys")
        return
    yield Fact("npu driver", "ok", f"{version or 'version unknown (debugfs not mounted?)'}; node /{node or '?'}")
    load = _first(root, _NPU_LOAD)
    yield Fact("npu load", "ok" if load else "absent", load or "not told by this kernel")


def _runtime(root: Path) -> Iterator[Fact]:
    found = [root / folder / name for name in _LIBRARIES for folder in _FOLDERS if (root / folder / name).exists()]
    for path in dict.fromkeys(path.resolve() for path in found):
        data = path.read_bytes()
        version = _RUNTIME_VERSION.search(data)
        text = f"/{path.relative_to(root.resolve())}: {version[1].decode() if version else 'version unknown'}"
        if b"libc.so.0\0" in data and platform.libc_ver()[0] == "glibc":
            yield Fact("npu runtime", "warn", f"{text}; linked against uClibc, which this Python cannot load")
        else:
            yield Fact("npu runtime", "ok", text)
    if not found:
        yield Fact("npu runtime", "absent", f"no {' or '.join(_LIBRARIES)}")


def _packages(_root: Path) -> Iterator[Fact]:
    yield Fact("python", "ok", f"{platform.python_version()} ({' '.join(platform.libc_ver()) or 'libc unknown'})")
    for name in _PACKAGES:
        try:
            yield Fact("package", "ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Fact("package", "absent", f"{name}, or not installed by pip")


def _cameras(root: Path) -> Iterator[Fact]:
    nodes = sorted((root / "sys/class/video4linux").glob("video*"), key=lambda path: (len(path.name), path.name))
    for node in nodes:
        name = _text(node / "name")
        note = "; the picture of the RV1106's and RK3588's image processor" if name == "rkisp_mainpath" else ""
        usable = os.access(root / "dev" / node.name, os.R_OK | os.W_OK)
        refused = "" if usable else "; this user may not open it (group video)"
        yield Fact("camera", "ok" if usable else "warn", f"/dev/{node.name}: {name or 'unnamed'}{note}{refused}")
    if not nodes:
        yield Fact("camera", "absent", "no /dev/video*; rtsp:// and clips work without one")


def _memory(root: Path) -> Iterator[Fact]:
    sizes = {name: int(kb) / 1024 for name, kb in re.findall(r"^(\w+): +(\d+) kB", _text(root / "proc/meminfo"), re.M)}
    if "MemTotal" not in sizes:
        yield Fact("memory", "absent", "no /proc/meminfo")
        return
    free = sizes.get("MemAvailable", 0)
    verdict: Verdict = "ok" if free > _LEAST_FREE * sizes["MemTotal"] else "warn"
    yield Fact("memory", verdict, f"{sizes['MemTotal']:,.0f} MiB, {free:,.0f} MiB available")
    if sizes.get("CmaTotal"):
        yield Fact(
            "cma",
            "ok",
            f"{sizes['CmaTotal']:,.0f} MiB, {sizes.get('CmaFree', 0):,.0f} MiB free: the NPU's and the camera's",
        )
    else:
        yield Fact("cma", "absent", "no contiguous memory is set aside; an NPU would need it")


def _heat(root: Path) -> Iterator[Fact]:
    hottest_c = BoardSensors(root).read().temperature_c
    if hottest_c is None:
        yield Fact("temperature", "absent", "no thermal zone")
    else:
        yield Fact("temperature", "ok" if hottest_c < _HOT_C else "warn", f"hottest zone {hottest_c:.0f} °C")
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        state, most = _text(device / "cur_state"), _text(device / "max_state")
        if state not in ("", "0"):
            yield Fact("cooling", "warn", f"{_text(device / 'type') or device.name}: held back, {state} of {most}")


def _clock(root: Path) -> Iterator[Fact]:
    synced = SystemClock().synced()
    yield Fact("clock", "ok" if synced else "warn", "synchronised" if synced else "not synchronised: utc means nothing")
    rtc = _text(root / "sys/class/rtc/rtc0/name")
    yield Fact("rtc", "ok" if rtc else "absent", rtc or "none: the time is unknown from power-on to the first answer")


def _flash(root: Path) -> Iterator[Fact]:
    for device in sorted((root / "sys/block").glob("mmcblk[0-9]")):
        life, end = _text(device / "device/life_time").split(), _text(device / "device/pre_eol_info")
        if life:
            worst = max(int(value, 16) for value in life)
            verdict: Verdict = "warn" if worst >= _WORN or end not in ("", "0x01") else "ok"
            used = f"{(worst - 1) * 10} to {worst * 10} % of its life used" if worst else "wear not told"
            yield Fact("flash", verdict, f"{device.name}: {used}, end-of-life flag {end or 'not told'}")
        else:
            yield Fact("flash", "absent", f"{device.name}: an SD card tells nothing of its wear")
    for device in sorted((root / "sys/class/ubi").glob("ubi[0-9]")):
        bad, spare = _text(device / "bad_peb_count"), _text(device / "reserved_for_bad")
        text = f"{device.name}: erased at most {_text(device / 'max_ec')} times, {bad} bad blocks, {spare} spare"
        yield Fact("flash", "warn" if spare == "0" else "ok", text)
    if not any((root / path).exists() for path in ("sys/block/mmcblk0", "sys/class/ubi/ubi0")):
        yield Fact("flash", "absent", "no eMMC, SD card or UBI: nothing that tells of its wear")
    usage = shutil.disk_usage(root)
    verdict = "ok" if usage.free > _LEAST_FREE * usage.total else "warn"
    yield Fact("disk", verdict, f"/: {usage.total / 1e6:,.0f} MB, {usage.free / 1e6:,.0f} MB free")


def _first(root: Path, names: tuple[str, ...]) -> str:
    """The first of some files that has anything to say, as one line."""
    return next((text for name in names if (text := " ".join(_text(root / name).split()))), "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
