"""The work of `edge-app doctor`: the hardware and software of this board, as findings; missing parts are `absent`.

Reads files only: cameras and the NPU, which another program may hold, are not opened.
Not here: the configuration (check.py).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_app import boards
from edge_app.backends import _soc
from edge_app.cli import power
from edge_app.cli.findings import Finding, Verdict
from edge_app.clock import SystemClock
from edge_app.pipeline.sensors import BoardSensors

_LIBRARIES = ("librknnmrt.so", "librknnrt.so")
_FOLDERS = ("usr/lib", "usr/lib64", "lib", "oem/usr/lib", "usr/local/lib", "usr/lib/aarch64-linux-gnu")
_PACKAGES = (
    "numpy", "opencv-python-headless", "PyYAML", "onnxruntime", "ncnn", "rknn-toolkit-lite2", "paho-mqtt", "aiohttp",
)  # fmt: skip
_RUNTIME_VERSION = re.compile(rb"librknnm?rt version: ([\x20-\x7e]{1,80})")
_NPU_NODES = ("dev/rknpu", "dev/dri/card1", "dev/dri/renderD129")
_NPU_VERSION = ("sys/kernel/debug/rknpu/version", "proc/rknpu/version", "sys/module/rknpu/version")
_NPU_LOAD = ("sys/kernel/debug/rknpu/load", "proc/rknpu/load")
_WORN = 0x08  # eMMC life time estimate: 70 to 80 % used
_HOT_C = 85.0
_MIN_FREE = 0.05  # of memory or disk


def examine(root: Path = Path("/")) -> list[Finding]:
    """Run all checks on the file system below `root`. A missing file is a finding, never an error."""
    checks: tuple[Callable[[Path], Iterator[Finding]], ...]
    checks = (_board, _npu, _runtime, _packages, _cameras, _memory, _temperature, power.check, _clock, _flash)
    return [finding for check in checks for finding in check(root)]


def _board(root: Path) -> Iterator[Finding]:
    machine = os.uname()
    model = _text(root / "proc/device-tree/model")
    yield Finding("board", "ok" if model else "absent", model or "no device tree: this machine does not boot with one")
    compatible = root / "proc/device-tree/compatible"
    soc = _soc.detect(compatible)
    yield Finding("soc", "ok" if soc else "absent", soc or "no Rockchip SoC: inference runs on the CPU")
    memory = re.search(r"^MemTotal: +(\d+) kB", _text(root / "proc/meminfo"), re.M)
    known = boards.detect(model, _text(compatible).split("\0"), machine.machine, int(memory[1]) if memory else None)
    if known is not None:
        yield Finding("known board", "ok", f"{known.name}: {known.describe()}")
    else:
        yield Finding("known board", "absent", "not in the table of boards")
    yield Finding("kernel", "ok", f"{machine.sysname} {machine.release} {machine.machine}, {os.cpu_count()} cores")


def _npu(root: Path) -> Iterator[Finding]:
    node = next((name for name in _NPU_NODES[:1] if (root / name).exists()), None)
    version = _first(root, _NPU_VERSION)
    if version and node is None:  # kernels with a DRM driver
        node = next((name for name in _NPU_NODES[1:] if (root / name).exists()), None)
    if node is None and not version:
        yield Finding("npu driver", "absent", "no /dev/rknpu and no rknpu in /proc or /sys")
        return
    yield Finding("npu driver", "ok", f"{version or 'version unknown (debugfs not mounted?)'}; node /{node or '?'}")
    load = _first(root, _NPU_LOAD)
    yield Finding("npu load", "ok" if load else "absent", load or "not reported by this kernel")


def _runtime(root: Path) -> Iterator[Finding]:
    libraries = [root / folder / name for name in _LIBRARIES for folder in _FOLDERS if (root / folder / name).exists()]
    for path in dict.fromkeys(path.resolve() for path in libraries):
        data = path.read_bytes()
        version = _RUNTIME_VERSION.search(data)
        text = f"/{path.relative_to(root.resolve())}: {version[1].decode() if version else 'version unknown'}"
        if b"libc.so.0\0" in data and platform.libc_ver()[0] == "glibc":
            yield Finding("npu runtime", "warn", f"{text}; linked against uClibc, which this Python cannot load")
        else:
            yield Finding("npu runtime", "ok", text)
    if not libraries:
        yield Finding("npu runtime", "absent", f"no {' or '.join(_LIBRARIES)}")


def _packages(_root: Path) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} ({' '.join(platform.libc_ver()) or 'libc unknown'})")
    for name in _PACKAGES:
        try:
            yield Finding("package", "ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("package", "absent", f"{name}, or not installed by pip")


def _cameras(root: Path) -> Iterator[Finding]:
    nodes = sorted((root / "sys/class/video4linux").glob("video*"), key=lambda path: (len(path.name), path.name))
    for node in nodes:
        name = _text(node / "name")
        note = "; main output of the RV1106's and RK3588's image signal processor" if name == "rkisp_mainpath" else ""
        usable = os.access(root / "dev" / node.name, os.R_OK | os.W_OK)
        denied = "" if usable else "; no permission: add this user to the group video"
        yield Finding("camera", "ok" if usable else "warn", f"/dev/{node.name}: {name or 'unnamed'}{note}{denied}")
    if not nodes:
        yield Finding("camera", "absent", "no /dev/video*; rtsp:// and clips work without one")


def _memory(root: Path) -> Iterator[Finding]:
    sizes = {name: int(kb) / 1024 for name, kb in re.findall(r"^(\w+): +(\d+) kB", _text(root / "proc/meminfo"), re.M)}
    if "MemTotal" not in sizes:
        yield Finding("memory", "absent", "no /proc/meminfo")
        return
    free = sizes.get("MemAvailable", 0)
    verdict: Verdict = "ok" if free > _MIN_FREE * sizes["MemTotal"] else "warn"
    yield Finding("memory", verdict, f"{sizes['MemTotal']:,.0f} MiB, {free:,.0f} MiB available")
    if sizes.get("CmaTotal"):
        yield Finding(
            "cma",
            "ok",
            f"{sizes['CmaTotal']:,.0f} MiB, {sizes.get('CmaFree', 0):,.0f} MiB free; used by the NPU and the camera",
        )
    else:
        yield Finding("cma", "absent", "no contiguous memory is reserved; an NPU needs it")


def _temperature(root: Path) -> Iterator[Finding]:
    hottest_c = BoardSensors(root).read().temperature_c
    if hottest_c is None:
        yield Finding("temperature", "absent", "no thermal zone")
    else:
        yield Finding("temperature", "ok" if hottest_c < _HOT_C else "warn", f"hottest zone {hottest_c:.0f} °C")
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        state, most = _text(device / "cur_state"), _text(device / "max_state")
        if state not in ("", "0"):
            name = _text(device / "type") or device.name
            yield Finding("cooling", "warn", f"{name}: throttling, level {state} of {most}")


def _clock(root: Path) -> Iterator[Finding]:
    synced = SystemClock().synced()
    text = "synchronized" if synced else "not synchronized: the field utc is meaningless"
    yield Finding("clock", "ok" if synced else "warn", text)
    rtc = _text(root / "sys/class/rtc/rtc0/name")
    yield Finding("rtc", "ok" if rtc else "absent", rtc or "none: the time is unknown until the first NTP answer")


def _flash(root: Path) -> Iterator[Finding]:
    for device in sorted((root / "sys/block").glob("mmcblk[0-9]")):
        life, end = _text(device / "device/life_time").split(), _text(device / "device/pre_eol_info")
        if life:
            worst = max(int(value, 16) for value in life)
            verdict: Verdict = "warn" if worst >= _WORN or end not in ("", "0x01") else "ok"
            used = f"{(worst - 1) * 10} to {worst * 10} % of its life used" if worst else "wear not reported"
            yield Finding("flash", verdict, f"{device.name}: {used}, end-of-life flag {end or 'not reported'}")
        else:
            yield Finding("flash", "absent", f"{device.name}: an SD card does not report its wear")
    for device in sorted((root / "sys/class/ubi").glob("ubi[0-9]")):
        bad, spare = _text(device / "bad_peb_count"), _text(device / "reserved_for_bad")
        text = f"{device.name}: at most {_text(device / 'max_ec')} erase cycles, {bad} bad blocks, {spare} spare"
        yield Finding("flash", "warn" if spare == "0" else "ok", text)
    if not any((root / path).exists() for path in ("sys/block/mmcblk0", "sys/class/ubi/ubi0")):
        yield Finding("flash", "absent", "no eMMC, SD card or UBI: no wear data")
    usage = shutil.disk_usage(root)
    verdict = "ok" if usage.free > _MIN_FREE * usage.total else "warn"
    yield Finding("disk", verdict, f"/: {usage.total / 1e6:,.0f} MB, {usage.free / 1e6:,.0f} MB free")


def _first(root: Path, names: tuple[str, ...]) -> str:
    """The content of the first file that is not empty, as one line; empty if there is none."""
    return next((text for name in names if (text := " ".join(_text(root / name).split()))), "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
