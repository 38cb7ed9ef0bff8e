"""edge-app check: everything that can be known before starting, each as a finding with a verdict.

Not here: mistakes in config.yaml and model.yaml themselves; loading them has reported those already.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from edge_app import registry
from edge_app.backends import Graph
from edge_app.backends._soc import detect
from edge_app.clock import ClipClock, SystemClock
from edge_app.config import Config
from edge_app.device import device_id
from edge_app.errors import EdgeError, EndOfClip
from edge_app.frame import Frame
from edge_app.inference import golden
from edge_app.inference.stage import Inference, open_backend
from edge_app.model import memory
from edge_app.model.manifest import FILE
from edge_app.publish.publisher import build_sinks
from edge_app.reuse import profile as tuned
from edge_app.reuse.change_detection import reference_bytes
from edge_app.reuse.loader import FREE, map_bytes

ASSUMED_FRAME = (1920, 1080)  # of a camera that is not opened
_LIVE = ("rtsp", "v4l2")
_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    text: str


def check(config: Config, board: str | None = None) -> list[Finding]:
    """Look at everything. board: plan the memory of one of memory.BOARDS; None is this machine where it is a board.

    Never raises EdgeError for what cannot be used, which is a finding of verdict `fail`; ConfigError where the board is
    unknown.
    """
    soc = detect()
    known = memory.board(board) if board else memory.this_board(soc) if soc else None
    findings = [Finding("config", "ok", str(config.path))]
    looks = {"files": _files, "model": _model, "reuse": _reuse, "source": _source, "sinks": _sinks}
    for what, look in looks.items():
        try:
            findings.extend(look(config))
        except EdgeError as exc:
            findings.append(Finding(what, "fail", str(exc)))
    return [*findings, *(_memory(config, known) if known else ())]


def as_table(findings: list[Finding]) -> str:
    """A line a finding: verdict, what, text."""
    width = max(len(finding.what) for finding in findings)
    return "\n".join(f"{_MARKS[f.verdict]}  {f.what:<{width}}  {f.text}" for f in findings)


def as_json(findings: list[Finding]) -> str:
    """One object: `ok`, and the findings."""
    good = all(finding.verdict != "fail" for finding in findings)
    return json.dumps({"ok": good, "findings": [asdict(finding) for finding in findings]})


def _files(config: Config) -> Iterator[Finding]:
    manifest = config.manifest
    if not manifest.sha256:
        text = f"{manifest.folder / FILE} lists no sha256: a damaged or exchanged graph would go unnoticed"
        yield Finding("files", "warn", text)
    for name in manifest.files():
        path = manifest.folder / name
        if not path.exists():
            yield Finding("files", "warn", f"{path}: not there; its target cannot be used on this machine")
            continue
        size = len(Graph(path, manifest.sha256.get(name)).read())
        yield Finding("files", "ok", f"{path}: {size:,} bytes{', sha256 as listed' if manifest.sha256 else ''}")


def _model(config: Config) -> Iterator[Finding]:
    """Load the model as `run` does and replay its golden vectors. Raises EdgeError if it cannot be loaded."""
    for result in golden.replay(config):
        if not result.in_parts:
            yield Finding("model", "ok", f"{config.manifest.name}: {', '.join(config.heads)} on {result.engine}")
            for note in result.notes:
                yield Finding("versions", "warn", note)
        yield Finding("golden, in parts" if result.in_parts else "golden", result.verdict, result.text)


def _reuse(config: Config) -> Iterator[Finding]:
    """How far a frame can be answered from the one before, and what keeping that takes: one frame is computed."""
    if config.reuse.mode == "off":
        return
    spec, state_dir = config.manifest.input, config.device.state_dir
    grey = Frame("check", 0, 0, 0, np.full((spec.height, spec.width, 3), spec.pad, np.uint8))
    backend = open_backend(config.manifest, config.model)
    with closing(
        Inference(config.manifest, backend, config.heads, reuse=config.reuse, state_dir=state_dir)
    ) as inference:
        inference.infer(grey)
        kept = inference.reuse_stats()
    if not kept:
        file = tuned.path(state_dir, config.manifest)
        yield Finding("reuse", "warn", f"{file} says that it does not pay for this model on this camera: off")
        return
    how = "whole results and parts of the maps" if kept["features"] else "whole results only"
    yield Finding("reuse", "ok", f"{how}; keeps {kept['cache_bytes']:,} bytes, for ever the same")
    if config.reuse.mode == "auto" and not kept["features"]:
        file, fixed = config.manifest.folder / FILE, backend.target not in FREE
        why = f"has no smaller shapes for {backend.target}" if fixed else "does not say where the cells of its maps lie"
        yield Finding("reuse", "warn", f"{file} {why}: compile it with {'--npu-shapes' if fixed else '--cut'}")


def _memory(config: Config, board: memory.Board) -> Iterator[Finding]:
    options = config.source.plugin.options
    size = (int(options.get("width") or 0), int(options.get("height") or 0))
    size = size if all(size) else _frame_size(config)
    extra = []
    if config.reuse.mode != "off":
        extra.append(memory.Item("pictures that reuse compares with", reference_bytes(config.manifest.input), "ram"))
    parts = config.reuse.mode == "auto" and board.target in config.manifest.shapes
    if parts:
        maps = map_bytes(config.manifest, board.target)
        extra.append(memory.Item("maps that reuse keeps and passes from graph to graph", maps, "ram"))
    budget = memory.plan(config.manifest, board, size, memory.process(), extra, parts=parts)
    for text in budget.unknown:
        yield Finding("memory", "warn", text)
    verdict: Literal["ok", "fail"] = "ok" if budget.fits else "fail"
    for line in budget.lines():
        yield Finding("memory", verdict, line)


def _frame_size(config: Config) -> tuple[int, int]:
    """Of the first frame of a recorded source."""
    plugin = config.source.plugin
    if plugin.type in _LIVE:
        return ASSUMED_FRAME
    try:
        with closing(registry.build("sources", plugin.type, ClipClock(), **plugin.options)) as source:
            frame = source.read(timeout_s=5.0)
    except (EdgeError, EndOfClip):
        return ASSUMED_FRAME
    return (frame.width, frame.height) if frame is not None else ASSUMED_FRAME


def _source(config: Config) -> Iterator[Finding]:
    plugin = config.source.plugin
    if plugin.type in _LIVE:
        yield Finding("source", "ok", f"{plugin.type}: configured; not opened by check")
        return
    with closing(registry.build("sources", plugin.type, ClipClock(), **plugin.options)) as source:
        try:
            frame = source.read(timeout_s=5.0)
        except EndOfClip:
            frame = None
    if frame is None:
        yield Finding("source", "fail", f"{plugin.type}: gave no frame; expected at least one")
    else:
        yield Finding("source", "ok", f"{plugin.type}: first frame {frame.width}x{frame.height} {frame.format}")


def _sinks(config: Config) -> Iterator[Finding]:
    """Construct every sink, which looks at everything that needs no other side: topics, certificates, secrets."""
    clock = SystemClock()
    for plugin in config.sinks:
        name = plugin.name or plugin.type
        if getattr(registry.find("sinks", plugin.type), "opens_file", False):
            yield Finding("sinks", "ok", f"{name}: configured; not opened by check")
            continue
        with ExitStack() as stack:
            build_sinks(config.replaced(sinks=(plugin,)), clock, device_id(config.device.id), stack)
        yield Finding("sinks", "ok", f"{name}: configured; whether the other side is there shows when it runs")
