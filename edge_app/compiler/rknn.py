"""Convert graphs to .rknn in a separate process and environment, parse the converter's log, and run its simulator.

The converter needs older libraries than the rest of the project and can abort its process. It does not report as an
error that an operator falls back to the CPU, which makes `rknn_init` fail on RV1106; its layer table shows it.
Not here: the code inside that environment (rknn_worker.py).
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
from edge_app.errors import ConfigError, ModelError, foreign_last_line
from edge_app.model.schema import Memory

TARGETS = ("rv1103", "rv1106", "rk3562", "rk3566", "rk3576", "rk3588", "rv1126b")
NO_CPU = ("rv1103", "rv1106")
PRECISIONS = {  # of each target; the converter's first choice is int8
    target: ("int8", "int16" if target in NO_CPU else "float16") for target in TARGETS
}
PINS = (
    "rknn-toolkit2==2.5.0", "torch==2.13.0", "typing_extensions", "numpy==1.26.4", "onnx==1.18.0", "protobuf==4.25.4",
    "scipy", "tqdm", "opencv-python-headless", "onnxruntime", "ruamel.yaml",
)  # fmt: skip  # onnx >= 1.19 breaks it; --no-deps: it declares another torch, which it does not need
DEFAULT_ENVIRONMENT = Path("~/.cache/edge-app/rknn")
_WORKER = Path(__file__).with_name("rknn_worker.py")
_TIMEOUT_S = 1800
Ranges = Mapping[str, tuple[list[float], list[float]]]  # minimum and maximum of each tensor, by name
_WORKAROUNDS = {
    "ArgMax": "leave it to the head's decoder",
    "Erf": "GELU: train with SiLU, HardSwish or ReLU instead",
    "Gelu": "train with SiLU, HardSwish or ReLU instead",
    "Norm": "normalize on the host: cut the graph before it",
    "Log": "cut the graph before it",
    "Resize": "enlarge by integer factors from 2 to 8",
    "TopK": "leave it to the head's decoder",
    "Reshape": "shapes in int64 stay on the CPU: cut the graph before it",
    "Softmax": "along the channels or the width only, or leave it to the head's decoder",
    "Exp": "leave it to the head's decoder: cut the graph before it",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the converter's layer table. target: NPU, CPU or GPU. ddr, npu: estimated cycles of memory, array."""

    op: str
    target: str
    name: str
    ddr: int = 0
    npu: int = 0


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """One graph to convert.

    mean, std: for a graph that takes pixels; None for one that takes features. calibration, feeds (for the simulator):
    by input, (N, H, W, 3) uint8 or (N, C, H, W) float32. ranges: by tensor, to use instead of the calibrated ones; {}
    uses the calibrated ones and returns them, None does not return them. precision: of weights and activations.
    given: ranges of some tensors; the others keep the calibrated ones.
    """

    name: str
    graph: bytes
    target: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    calibration: Mapping[str, Array]
    feeds: Mapping[str, Array]
    ranges: Ranges | None = None
    precision: str = "int8"
    given: Ranges = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConvertedGraph:
    """outputs: of the simulator, by position, (N, …) float32. ranges: of every tensor, if the job asked for them.

    layers: every row of the layer table; cpu_layers: those that run on the CPU.
    """

    data: bytes
    memory: Memory
    outputs: tuple[Array, ...]
    cpu_layers: tuple[Layer, ...]
    ranges: Ranges = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()


def environment(folder: Path | None) -> Path:
    """The Python of the converter's environment. Raises ConfigError if it does not exist."""
    folder = (folder or DEFAULT_ENVIRONMENT).expanduser().absolute()  # the worker starts in another directory
    python = folder / "bin" / "python"
    if not python.exists():
        raise ConfigError(f"{folder}: found no RKNN converter; create it with: edge-app compile --setup-rknn {folder}")
    return python


def check_ranges(python: Path) -> None:
    """Check that the converter can quantize with given ranges. Raises ConfigError if it lacks a package for that."""
    if not _has(python, "ruamel.yaml"):
        folder = python.parent.parent
        raise ConfigError(
            f"{folder}: the RKNN converter lacks ruamel.yaml; complete it with: edge-app compile --setup-rknn {folder}"
        )


def set_up(folder: Path, progress: Callable[[str], None]) -> None:
    """Create the converter's environment (1.4 GB), or complete an existing one. Raises ConfigError if pip fails."""
    folder = folder.expanduser()
    if sys.version_info[:2] > (3, 12):
        raise ConfigError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]}: the RKNN converter has no wheel for it; "
            "expected Python 3.8 to 3.12"
        )
    python = folder / "bin" / "python"
    if python.exists() and _has(python, "pip"):
        progress(f"{folder}: completing the environment for {PINS[0]}")
    else:
        progress(f"{folder}: creating an environment for {PINS[0]} (1.4 GB)")
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PINS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        found = foreign_last_line(done.stderr)
        raise ConfigError(f"{folder}: pip failed: {found}; expected x86-64 Linux and a package index")


def convert(job: ConversionJob, python: Path, folder: Path) -> ConvertedGraph:
    """Convert and simulate. folder: for temporary files.

    Raises ModelError with the layer that would run on the CPU, or the converter's own message.
    """
    base = f"{folder / job.name}.{job.target}"
    paths = {key: f"{base}.{key}" for key in ("onnx", "rknn", "json", "result", "npz", "out.npz", "txt")}
    _write_job(job, paths, base)
    code, log = _run_worker(job, python, paths["json"], folder)
    layers = tuple(parse_layer_table(log))
    cpu = tuple(layer for layer in layers if layer.target == "CPU" and not layer.op.endswith("Operator"))
    if cpu and job.target in NO_CPU:
        raise ModelError(f"{job.name} for {job.target}: {_cpu_layer_error(cpu)}")
    result = Path(paths["result"])
    _raise_if_failed(job, code, result)
    ranges = {} if job.ranges is None else json.loads(result.read_text(encoding="utf-8"))["ranges"]
    outputs: tuple[Array, ...] = ()
    if job.feeds:
        with np.load(paths["out.npz"]) as file:
            outputs = tuple(file[str(i)] for i in range(len(file.files)))
    return ConvertedGraph(Path(paths["rknn"]).read_bytes(), parse_memory(log), outputs, cpu, ranges, layers)


def _write_job(job: ConversionJob, paths: Mapping[str, str], base: str) -> None:
    """Write the files that the worker reads: graph, calibration samples, feeds and their description."""
    Path(paths["onnx"]).write_bytes(job.graph)
    Path(paths["txt"]).write_text(_dataset(job, base), encoding="utf-8")
    if job.feeds:
        feeds: dict[str, Any] = dict(job.feeds)
        np.savez(paths["npz"], **feeds)
    description = {
        "onnx": paths["onnx"], "out": paths["rknn"], "target": job.target, "mean": job.mean, "std": job.std,
        "dataset": paths["txt"], "feeds": paths["npz"] if job.feeds else None, "inputs": list(job.calibration),
        "outputs": paths["out.npz"], "result": paths["result"], "ranges": job.ranges,
        "precision": job.precision, "given": job.given,
    }  # fmt: skip
    Path(paths["json"]).write_text(json.dumps(description), encoding="utf-8")


def _run_worker(job: ConversionJob, python: Path, description: str, folder: Path) -> tuple[int, str]:
    """Run the worker. Returns its exit code and its log."""
    try:
        done = subprocess.run(
            [str(python), "-I", str(_WORKER), description], capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT_S, cwd=folder, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ModelError(f"{job.name} for {job.target}: the converter did not finish: {exc}") from exc
    return done.returncode, done.stdout + done.stderr


def _has(python: Path, module: str) -> bool:
    """Whether a module can be imported in an environment."""
    return (
        subprocess.run([str(python), "-I", "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


def parse_layer_table(log: str) -> list[Layer]:
    """Rows of the layer table in a verbose log: number, operator, data type, NPU or CPU, …, cycles, …, full name."""
    layers = []
    for line in log.splitlines():
        row = re.search(r"\]\s+\d+\s+(\w+)\s+\w+\s+(NPU|CPU|GPU)\s(?:.*?\s(\d+)/(\d+)/\d+\s)?.*?(\S+:\S+)\s*$", line)
        if row:
            layers.append(Layer(row[1], row[2], row[5].split(":", 1)[1], int(row[3] or 0), int(row[4] or 0)))
    return layers


def parse_memory(log: str) -> Memory:
    """Memory totals in a verbose log; the last ones count. Raises ModelError if there are none."""
    totals: dict[str, int] = {}
    for kind in ("Internal", "Weight"):
        # sometimes another line is printed in between, and the number is on the next line
        matches = re.findall(rf"Total {kind} Memory Size:(?:[^\n]*\n)??\s*([\d.]+)\s*(KB|MB|B)\b", log)
        if not matches:
            raise ModelError(
                f"the converter's log has no total of {kind.lower()} memory; expected the log of {PINS[0]}"
            )
        number, unit = matches[-1]
        totals[kind] = round(float(number) * {"B": 1, "KB": 1024, "MB": 1 << 20}[unit])
    return Memory(totals["Weight"], totals["Internal"])


def _cpu_layer_error(layers: Sequence[Layer]) -> str:
    first, *others = layers
    workarounds = (text for op, text in _WORKAROUNDS.items() if op.lower() in first.op.lower())
    way = next(workarounds, "cut the graph before it")
    more = f" (and {len(others)} more: {', '.join(sorted({layer.op for layer in others}))})" if others else ""
    return (
        f"layer '{first.name}' ({first.op}) would run on the CPU, which this target does not support{more}; "
        f"workaround: {way}"
    )


def _raise_if_failed(job: ConversionJob, code: int, result: Path) -> None:
    if code == 0:
        return
    problem = None
    if result.exists():
        problem = json.loads(result.read_text(encoding="utf-8"))["problem"]
    if problem is None:
        what = f"signal {-code}" if code < 0 else f"exit code {code}"
        problem = f"it was aborted ({what})"
    raise ModelError(f"{job.name} for {job.target}: the RKNN converter failed: {problem}")


def _dataset(job: ConversionJob, base: str) -> str:
    """Write calibration files and return their list: a line per sample, a column per input, all (1, C, H, W)."""
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
