"""`model.precision: auto`: measure the float and the int8 graphs on this machine once, and keep the faster ones.

The choice is stored in `state_dir/tune/precision/<machine>/<model>.yaml`, as costs are (reuse/cost_file.py).
Not here: which engine runs the graphs (engine.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from edge_app.config import HeadConfig, ModelConfig
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml
from edge_app.reuse import cost_file, profile

Precision = Literal["float", "int8"]

_LEAST_GAIN = 0.95  # int8 is less accurate, so it must take at most this share of the float graphs' time
_MAX_RUNS, _LIMIT_S = 15, 1.0  # of each precision, whichever comes first
_MIN_RUNS = 3
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """The time of one inference with each precision, in milliseconds. threads: of the engine."""

    float_ms: Annotated[float, Range(0)]
    int8_ms: Annotated[float, Range(0)]
    threads: Annotated[int, Range(1, 64)]

    @property
    def faster(self) -> Precision:
        """The precision to use: float unless int8 is clearly faster."""
        return "int8" if self.int8_ms <= self.float_ms * _LEAST_GAIN else "float"


def choose(
    manifest: Manifest, model: ModelConfig, heads: Mapping[str, HeadConfig], state_dir: Path | None
) -> ModelConfig:
    """Replace the precision `auto` by `float` or `int8`; float for an NPU and for a model without int8 graphs.

    state_dir: where the measurement is stored; None: it is not. Raises ConfigError if the stored file is damaged,
    EdgeError if a graph cannot run.
    """
    if model.precision != "auto":
        return model
    with closing(open_backend(manifest, model)) as backend:
        if backend.target != "onnx" or "int8" not in manifest.targets():
            return replace(model, precision="float")
        machine = cost_file.machine_key(backend)
    file = None if state_dir is None else path(state_dir, machine, manifest)
    found = None if file is None else load(file)
    if found is None or found.threads != model.threads:
        found = _measure(manifest, model, heads)
        _LOG.info(
            "precision: %s; float takes %.2f ms and int8 %.2f ms here", found.faster, found.float_ms, found.int8_ms
        )
        _save(file, found)
    return replace(model, precision=found.faster)


def path(state_dir: Path, machine: str, manifest: Manifest) -> Path:
    """The file with the measurement of a model. machine: as from `cost_file.machine_key`."""
    return state_dir / "tune" / "precision" / machine / f"{profile.model_key(manifest)}.yaml"


def load(file: Path) -> Measured | None:
    """Read a file; None if it does not exist. Raises ConfigError with every mistake, a line each."""
    if not file.exists():
        return None
    problems = Problems(file)
    root = load_yaml(file, problems)
    problems.raise_if_any()
    read = read_dataclass(root, Measured, "", problems)
    problems.raise_if_any()
    return None if read is WRONG else read


def _save(file: Path | None, measured: Measured) -> None:
    if file is None:
        return
    try:
        profile.write_yaml(file, "Measured on this machine by edge-app. Delete it to measure again.", asdict(measured))
    except OSError as exc:
        _LOG.warning("%s: cannot be written: %s; the next start measures the precision again", file, exc)


def _measure(manifest: Manifest, model: ModelConfig, heads: Mapping[str, HeadConfig]) -> Measured:
    """Load and run one model after the other, since both may not fit in a board's memory."""
    float_ms, int8_ms = (
        _inference_ms(manifest, replace(model, precision=precision), heads) for precision in ("float", "int8")
    )
    return Measured(round(float_ms, 3), round(int8_ms, 3), model.threads)


def _inference_ms(manifest: Manifest, model: ModelConfig, heads: Mapping[str, HeadConfig]) -> float:
    """The shortest time of an inference: other programs only make it longer."""
    tensor = np.zeros(manifest.input.shape, manifest.input.dtype)
    backend = open_backend(manifest, model)
    try:
        inference = Inference(manifest, backend, heads)
    except BaseException:
        backend.close()
        raise
    times_s: list[float] = []
    with closing(inference):
        inference.outputs(tensor)
        end_s = time.perf_counter() + _LIMIT_S
        while len(times_s) < _MIN_RUNS or (len(times_s) < _MAX_RUNS and time.perf_counter() < end_s):
            start_s = time.perf_counter()
            inference.outputs(tensor)
            times_s.append(time.perf_counter() - start_s)
    return min(times_s) * 1e3
