"""The checks of `edge-app check` that run the model, in a child process that is limited in memory and time.

A model that never answers, takes all memory or crashes the engine ends the child, and becomes a finding.
Not here: the other checks (check.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edge_app.cli.findings import Finding
from edge_app.cli.memory_limit import limit_data
from edge_app.config import Config
from edge_app.errors import EdgeError, foreign_text
from edge_app.frame import Frame
from edge_app.inference import golden
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model.manifest import FILE
from edge_app.reuse import profile
from edge_app.reuse.loader import FREE

TIMEOUT_S = 60.0
_MAX_MEMORY = 4 << 30  # bytes that the model may take beyond those of the libraries
_START = "import sys; sys.path[:] = {path!r}; from edge_app.cli.model_check import main; main()"
_STARTED = "started"  # instead of a verdict: the check of an area has started


def run(config: Config, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Load the model, replay its golden vectors and check reuse. Any other end of the child is a finding."""
    command = [sys.executable, "-c", _START.format(path=sys.path)]
    job = pickle.dumps((config, timeout_s))
    try:
        done = subprocess.run(command, input=job, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as exc:
        findings, area = _parse(exc.stdout or b"")
        text = f"{config.manifest.folder}: found no result within {timeout_s:g} s; expected a model that answers"
        return [*findings, Finding(area, "fail", text)]
    findings, area = _parse(done.stdout)
    if done.returncode:
        text = f"{config.manifest.folder}: the process that ran the model {_ending(done)}"
        return [*findings, Finding(area, "fail", text)]
    sys.stderr.write(done.stderr.decode(errors="replace"))  # warnings
    return findings


def main() -> None:
    """The child: read the configuration from stdin, write findings to stdout, a line each."""
    config, timeout_s = pickle.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # engines write to standard output
    signal.alarm(math.ceil(timeout_s) + 1)  # if the parent was killed
    limit = _limit_memory()

    def write(area: str, verdict: str, text: str) -> None:
        out.write(json.dumps([area, verdict, text]) + "\n")
        out.flush()

    checks: dict[str, Callable[[Config], Iterator[Finding]]] = {"model": _model, "reuse": _reuse}
    for area, check in checks.items():
        write(area, _STARTED, "")
        try:
            for finding in check(config):
                write(finding.area, finding.verdict, finding.text)
        except EdgeError as exc:
            write(area, "fail", str(exc))
        except MemoryError:
            write(area, "fail", f"{config.manifest.folder}: takes more than {limit >> 20} MiB of memory")


def _parse(output: bytes) -> tuple[list[Finding], str]:
    """The findings, and the area that was checked last. An incomplete last line is ignored."""
    findings, area = [], "model"
    for line in output.splitlines(keepends=True):
        if line.endswith(b"\n"):
            what, verdict, text = json.loads(line)
            if verdict == _STARTED:
                area = what
            else:
                findings.append(Finding(what, verdict, text))
    return findings, area


def _ending(done: subprocess.CompletedProcess[bytes]) -> str:
    """How the child ended, with the last line that it wrote to stderr."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    last = f": {foreign_text(lines[-1])}" if lines else ""
    if done.returncode > 0:
        return f"failed{last}"
    memory = " (out of memory?)" if -done.returncode == signal.SIGKILL else ""
    return f"ended: {signal.strsignal(-done.returncode)}{memory}{last}"


def _limit_memory() -> int:
    """Limit the data of this process, and let the kernel end it first if memory is short. Returns bytes."""
    limit = limit_data(_MAX_MEMORY)
    with contextlib.suppress(OSError):  # not permitted in some containers
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    return limit


def _model(config: Config) -> Iterator[Finding]:
    """Load the model as `run` does and replay its golden vectors. Raises EdgeError if it cannot be loaded."""
    for result in golden.replay(config):
        if not result.in_parts:
            yield Finding("model", "ok", f"{config.manifest.name}: {', '.join(config.heads)} on {result.engine}")
            for note in result.notes:
                yield Finding("versions", "warn", note)
        yield Finding("golden, in parts" if result.in_parts else "golden", result.verdict, result.text)


def _reuse(config: Config) -> Iterator[Finding]:
    """How much can be reused from the previous frame, whether it is right, and the memory for it. Runs inference."""
    if config.reuse.mode == "off" or not any(config.manifest.heads[name].whole_image for name in config.heads):
        return
    spec, state_dir = config.manifest.input, config.device.state_dir
    gray = Frame("check", 0, 0, 0, np.full((spec.height, spec.width, 3), spec.pad, np.uint8))
    backend = open_backend(config.manifest, config.model)
    with contextlib.closing(
        Inference(config.manifest, backend, config.heads, reuse=config.reuse, state_dir=state_dir)
    ) as inference:
        inference.infer(gray)
        stats = inference.reuse_stats()
        error = inference.verify_reuse()
    if not stats:
        file = profile.path(state_dir, config.manifest)
        yield Finding("reuse", "warn", f"{file} turns reuse off: it does not pay for this model on this camera")
        return
    if error is not None and not error <= golden.TOLERANCE:
        text = f"computed in parts, outputs differ by {error:.1e}; expected at most {golden.TOLERANCE:.0e}"
        yield Finding("reuse", "fail", f"{config.manifest.folder / FILE}: {text}: compile the model again")
        return
    scope = "whole results and parts of feature maps" if stats["features"] else "whole results only"
    yield Finding("reuse", "ok", f"{scope}; the cache takes {stats['cache_bytes']:,} bytes, a constant size")
    if config.reuse.mode == "auto" and not stats["features"]:
        file, fixed = config.manifest.folder / FILE, backend.target not in FREE
        why = f"has no crop shapes for {backend.target}" if fixed else "does not describe the cells of its feature maps"
        yield Finding("reuse", "warn", f"{file} {why}: compile it with {'--npu-shapes' if fixed else '--cut'}")
