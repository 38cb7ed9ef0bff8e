"""Conversion to .rknn: in a process and an environment of its own, with the layer table read and the simulator run.

The converter needs older libraries than everything else, can abort its process, and does not say that an operator fell
back to the CPU, which kills `rknn_init` on RV1106. Not here: what runs inside that environment (rknn_worker.py).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.compiler.session import Array
from edge_app.errors import ConfigError, ModelError
from edge_app.model.schema import Memory

TARGETS = ("rv1103", "rv1106", "rk3562", "rk3566", "rk3576", "rk3588")
NO_CPU = ("rv1103", "rv1106")
PINS = (
    "rknn-toolkit2==2.5.0", "torch==2.13.0", "typing_extensions", "numpy==1.26.4", "onnx==1.18.0", "protobuf==4.25.4",
    "scipy", "tqdm", "opencv-python-headless", "onnxruntime", "ruamel.yaml",
)  # fmt: skip  # onnx 1.19 and newer break it; the torch that it declares is not needed, hence --no-deps
DEFAULT_ENVIRONMENT = Path("~/.cache/edge-app/rknn")
_WORKER = Path(__file__).with_name("rknn_worker.py")
_TIMEOUT_S = 1800
Ranges = Mapping[str, tuple[list[float], list[float]]]  # least and most of each tensor, by name
_ROUNDS_ABOUT = {
    "ArgMax": "leave it to the head's decoder",
    "Erf": "GELU: train with SiLU, HardSwish or ReLU instead",
    "Gelu": "train with SiLU, HardSwish or ReLU instead",
    "Norm": "normalise on the host: cut the graph in front of it",
    "Log": "cut the graph in front of it",
    "Resize": "enlarge by whole factors from 2 to 8",
    "TopK": "leave it to the head's decoder",
    "Reshape": "shapes in int64 stay on the CPU: cut the graph in front of it",
    "Softmax": "along the channels or the width only, or leave it to the head's decoder",
    "Exp": "leave it to the head's decoder: cut the graph in front of it",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the converter's table."""

    op: str
    target: str
    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """One graph to convert. mean, std: of a graph that takes pixels, None for one that takes features.

    calibration: by input, (N, H, W, 3) uint8 or (N, C, H, W) float32. feeds: the same for the simulator. ranges: by
    tensor, to be used in the place of those that calibration finds; {} uses these and tells them, None does not tell.
    """

    name: str
    graph: bytes
    target: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    calibration: Mapping[str, Array]
    feeds: Mapping[str, Array]
    ranges: Ranges | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """outputs: of the simulator, by position, (N, …) float32. ranges: of every tensor, where they were asked for."""

    data: bytes
    memory: Memory
    outputs: tuple[Array, ...]
    cpu_layers: tuple[Layer, ...]
    ranges: Ranges = field(default_factory=dict)


def environment(folder: Path | None) -> Path:
    """The Python of the converter's environment. Raises ConfigError where there is none."""
    folder = (folder or DEFAULT_ENVIRONMENT).expanduser().absolute()  # it is started in another directory
    python = folder / "bin" / "python"
    if not python.exists():
        raise ConfigError(
            f"{folder}: the RKNN converter is not there; expected it made by: edge-app compile --setup-rknn {folder}"
        )
    return python


def check_ranges(python: Path) -> None:
    """Whether the environment can use ranges that it is given. Raises ConfigError where it was made without that."""
    if not _has(python, "ruamel.yaml"):
        folder = python.parent.parent
        raise ConfigError(
            f"{folder}: the RKNN converter lacks ruamel.yaml; expected it completed by: edge-app compile --setup-rknn "
            f"{folder}"
        )


def set_up(folder: Path, say: Callable[[str], None]) -> None:
    """Make the converter's environment: 1.4 GB; one that is there is completed. Raises ConfigError where pip fails."""
    folder = folder.expanduser()
    if sys.version_info[:2] > (3, 12):
        raise ConfigError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]}: the RKNN converter has no wheel for it; "
            "expected 3.8 to 3.12"
        )
    python = folder / "bin" / "python"
    if python.exists() and _has(python, "pip"):
        say(f"{folder}: completing the environment for {PINS[0]}")
    else:
        say(f"{folder}: making an environment for {PINS[0]} (1.4 GB)")
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PINS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"{folder}: pip failed: {_last_line(done.stderr)}; expected x86-64 Linux and a package index")


def convert(job: Job, python: Path, folder: Path) -> Converted:
    """Convert and simulate. folder: for files in between. Raises ModelError with the layer, or the converter's word."""
    base = folder / f"{job.name}.{job.target}"
    paths = {key: f"{base}.{key}" for key in ("onnx", "rknn", "json", "result", "npz", "out.npz", "txt")}
    Path(paths["onnx"]).write_bytes(job.graph)
    Path(paths["txt"]).write_text(_dataset(job, base), encoding="utf-8")
    if job.feeds:
        feeds: dict[str, Any] = dict(job.feeds)
        np.savez(paths["npz"], **feeds)
    description = {
        "onnx": paths["onnx"], "out": paths["rknn"], "target": job.target, "mean": job.mean, "std": job.std,
        "dataset": paths["txt"], "feeds": paths["npz"] if job.feeds else None, "inputs": list(job.calibration),
        "outputs": paths["out.npz"], "result": paths["result"], "ranges": job.ranges,
    }  # fmt: skip
    Path(paths["json"]).write_text(json.dumps(description), encoding="utf-8")
    try:
        done = subprocess.run(
            [str(python), "-I", str(_WORKER), paths["json"]], capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT_S, cwd=folder, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ModelError(f"{job.name} for {job.target}: the converter did not finish: {exc}") from exc
    log = done.stdout + done.stderr
    layers = table(log)
    cpu = tuple(layer for layer in layers if layer.target == "CPU" and not layer.op.endswith("Operator"))
    if cpu and job.target in NO_CPU:
        raise ModelError(f"{job.name} for {job.target}: {_complaint(cpu)}")
    result = Path(paths["result"])
    _raise_if_failed(job, done.returncode, result)
    ranges = {} if job.ranges is None else json.loads(result.read_text(encoding="utf-8"))["ranges"]
    outputs: tuple[Array, ...] = ()
    if job.feeds:
        with np.load(paths["out.npz"]) as file:
            outputs = tuple(file[str(i)] for i in range(len(file.files)))
    return Converted(Path(paths["rknn"]).read_bytes(), memory(log), outputs, cpu, ranges)


def _has(python: Path, module: str) -> bool:
    """Whether an environment has a module."""
    return (
        subprocess.run([str(python), "-I", "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


def table(log: str) -> list[Layer]:
    """The rows of the layer table in a verbose log: number, operator, data type, NPU or CPU, …, full name."""
    found = []
    for line in log.splitlines():
        row = re.search(r"\]\s+\d+\s+(\w+)\s+\w+\s+(NPU|CPU|GPU)\s.*?(\S+:\S+)\s*$", line)
        if row:
            found.append(Layer(row[1], row[2], row[3].split(":", 1)[1]))
    return found


def memory(log: str) -> Memory:
    """The totals in a verbose log; the last ones count. Raises ModelError where it has none."""
    totals = {}
    for kind in ("Internal", "Weight"):
        # now and then another line comes in between, and the number stands below it
        found = re.findall(rf"Total {kind} Memory Size:(?:[^\n]*\n)??\s*([\d.]+)\s*(KB|MB|B)\b", log)
        if not found:
            raise ModelError(
                f"the converter's log has no total of {kind.lower()} memory; expected the one of {PINS[0]}"
            )
        number, unit = found[-1]
        totals[kind] = round(float(number) * {"B": 1, "KB": 1024, "MB": 1 << 20}[unit])
    return Memory(totals["Weight"], totals["Internal"])


def _complaint(layers: Sequence[Layer]) -> str:
    first, *others = layers
    ways = (text for op, text in _ROUNDS_ABOUT.items() if op.lower() in first.op.lower())
    way = next(ways, "cut the graph in front of it")
    more = f" (and {len(others)} more: {', '.join(sorted({layer.op for layer in others}))})" if others else ""
    return (
        f"layer '{first.name}' ({first.op}) would run on the CPU, which its runtime cannot{more}; "
        f"known way round: {way}"
    )


def _raise_if_failed(job: Job, code: int, result: Path) -> None:
    if code == 0:
        return
    problem = None
    if result.exists():
        problem = json.loads(result.read_text(encoding="utf-8"))["problem"]
    if problem is None:
        what = f"signal {-code}" if code < 0 else f"exit code {code}"
        problem = f"it was aborted ({what})"
    raise ModelError(f"{job.name} for {job.target}: the RKNN converter failed: {problem}")


def _dataset(job: Job, base: Path) -> str:
    """Calibration files, a sample a line, one column an input, all of them (1, C, H, W)."""
    lines = []
    count = min(len(array) for array in job.calibration.values())
    for row in range(count):
        names = []
        for position, array in enumerate(job.calibration.values()):
            name = f"{base}.{position}.{row}.npy"
            sample = array[row : row + 1]
            np.save(name, sample.transpose(0, 3, 1, 2) if job.mean is not None else sample)
            names.append(name)
        lines.append(" ".join(names))
    return "\n".join(lines) + "\n"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
