"""Convert graphs for ncnn with pnnx, and run them with ncnn in a separate process.

The wheel of pnnx declares PyTorch, but its program needs none for ONNX files. So it is installed without dependencies,
into a separate environment. Both programs may crash on a graph that they cannot handle.
Not here: the form that pnnx needs (pnnx_graph.py), which graphs are converted (ncnn_target.py), the code of the second
process (ncnn_worker.py).
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_app.compiler import pnnx_graph
from edge_app.compiler.net import Net
from edge_app.compiler.session import Array
from edge_app.errors import ConfigError, ModelError, foreign_last_line, foreign_text
from edge_app.options.extras import install

PIN = "pnnx==20261020"
DEFAULT_ENVIRONMENT = Path("~/.cache/edge-app/pnnx")
PARAM = "graph.param"  # the name of the converted file; its weights are in graph.bin
_PROGRAM = "lib/python*/site-packages/pnnx/pnnx"
_TIMEOUT_S = 600
_RUN = "import sys; sys.path[:] = {path!r}; from edge_app.compiler.ncnn_worker import main; main()"


@dataclass(frozen=True, slots=True)
class ConvertedGraph:
    """param, weights: the contents of the two files. unsupported: operations that pnnx left as they are."""

    param: str
    weights: bytes
    unsupported: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProofRun:
    """outputs: of every run, by name. memory: bytes that loading and running took."""

    outputs: list[Mapping[str, Array]]
    memory: int


def program(folder: Path | None) -> Path:
    """The program of pnnx. Raises ConfigError if it, or ncnn in this environment, is not installed."""
    if importlib.util.find_spec("ncnn") is None:
        raise ConfigError(f"--target ncnn: needs the library ncnn to prove its graphs; expected: {install('ncnn')}")
    folder = (folder or DEFAULT_ENVIRONMENT).expanduser().absolute()  # the program starts in another directory
    found = _program(folder)
    if found is None:
        raise ConfigError(f"{folder}: found no pnnx; create it with: edge-app compile --setup-pnnx {folder}")
    return found


def set_up(folder: Path, progress: Callable[[str], None]) -> None:
    """Create the environment of pnnx (110 MB), or update an existing one. Raises ConfigError if pip fails."""
    folder = folder.expanduser()
    progress(f"{folder}: installing {PIN} without PyTorch (110 MB)")
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", PIN]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise ConfigError(f"{folder}: no environment could be created there: {foreign_text(exc)}") from exc
    if done.returncode != 0 or _program(folder) is None:
        found = foreign_last_line(done.stderr)
        raise ConfigError(f"{folder}: pip failed: {found}; expected x86-64 Linux and a package index")


def convert(name: str, net: Net, pnnx: Path, folder: Path) -> ConvertedGraph:
    """Convert one graph with known input shapes. folder: for the files. Raises ModelError if pnnx fails."""
    param = folder / PARAM
    source, weights = param.with_suffix(".onnx"), param.with_suffix(".bin")
    for path in (param, weights):
        path.unlink(missing_ok=True)
    source.write_bytes(pnnx_graph.for_pnnx(net).serialize())
    command = [str(pnnx), source.name, f"ncnnparam={param.name}", f"ncnnbin={weights.name}", "fp16=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ModelError(f"{name} for ncnn: pnnx did not finish: {foreign_text(exc)}") from exc
    if done.returncode != 0 or not (param.exists() and weights.exists()):
        raise ModelError(f"{name} for ncnn: pnnx failed: {_ending(done)}")
    log = done.stdout.splitlines() + done.stderr.splitlines()
    unsupported = dict.fromkeys(line.split()[1] for line in log if line.startswith("todo ") and len(line.split()) > 1)
    return ConvertedGraph(param.read_text(encoding="ascii", errors="replace"), weights.read_bytes(), tuple(unsupported))


def run(name: str, param: Path, feeds: Sequence[Mapping[str, Array]]) -> ProofRun:
    """Run a graph with ncnn on several inputs, in a separate process. Raises ModelError if that fails."""
    job, inputs, outputs = (param.with_suffix(suffix) for suffix in (".job.json", ".inputs.npz", ".outputs.npz"))
    arrays = {f"{i}/{key}": array for i, row in enumerate(feeds) for key, array in row.items()}
    np.savez(inputs, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as options too
    job.write_text(json.dumps({"param": str(param), "inputs": str(inputs), "outputs": str(outputs)}), encoding="utf-8")
    command = [sys.executable, "-c", _RUN.format(path=sys.path), str(job)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ModelError(f"{name} for ncnn: its proof did not finish: {foreign_text(exc)}") from exc
    if done.returncode != 0:
        raise ModelError(f"{name} for ncnn: cannot be run: {_ending(done)}")
    found: list[dict[str, Array]] = [{} for _ in feeds]
    with np.load(outputs) as file:
        for key in file.files:
            row, _, output = key.partition("/")
            if row != "memory":
                found[int(row)][output] = file[key]
        memory = int(file["memory"])
    return ProofRun(list(found), memory)


def _program(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob(_PROGRAM))), None)


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended, with the last line that it wrote."""
    last = foreign_last_line(done.stderr or done.stdout)
    return last if done.returncode >= 0 else f"{signal.strsignal(-done.returncode)}: {last}"
