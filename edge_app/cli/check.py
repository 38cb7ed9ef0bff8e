"""The work of `edge-app check`: everything that can be checked before a start, as findings.

Not here: errors in config.yaml and model.yaml themselves; loading them reports those. Running the model
(model_check.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing

from edge_app import boards, registry
from edge_app.backends._soc import detect
from edge_app.capture.build import build_source
from edge_app.cli import gallery_check, model_check, speed
from edge_app.cli.findings import Finding, Verdict
from edge_app.clips.memory import memory_of_clips
from edge_app.clock import ClipClock, SystemClock
from edge_app.config import Config
from edge_app.config.overrides import FILE as OVERRIDES
from edge_app.device import device_id
from edge_app.errors import EdgeError, EndOfClip
from edge_app.model import memory
from edge_app.model.manifest import FILE
from edge_app.publish import build_sinks
from edge_app.reuse.change_detection import reference_bytes
from edge_app.reuse.loader import map_bytes

_OF_CAMERA = ("model", "source")  # checks of each camera
ASSUMED_FRAME = (1920, 1080)  # a camera is not opened, so its size is unknown


def check(config: Config, board: str | None = None) -> list[Finding]:
    """Run all checks. board: plan the memory of this board, a name or alias of edge_app/boards; None: of this
    machine, if it is one.

    An EdgeError of a check becomes a finding with the verdict `fail`. Raises ConfigError if the board is unknown.
    """
    soc = detect()
    planned = memory.board(board) if board else memory.this_board(soc) if soc else None
    registry.installed()  # warns about installed plug-ins that are ignored
    findings = [Finding("config", "ok", str(config.path))]
    if config.overrides:
        text = f"{config.device.state_dir / OVERRIDES} changes {', '.join(config.overrides)}"
        findings.append(Finding("config", "ok", text))
    findings += [Finding("config", "fail", f"{problem}; not in effect") for problem in config.unfit]
    if board and (note := boards.find(board).note):
        findings.append(Finding("board", "warn", f"{boards.find(board).name}: {note}"))
    if board:
        findings.extend(speed.check(config.manifest.folder, boards.find(board)))
    checks: dict[str, Callable[[Config], Iterable[Finding]]]
    checks = {"files": _files, "model": model_check.run, "source": _source, "sinks": _sinks, "web": _web}
    checks["gallery"] = gallery_check.run
    for area, run in checks.items():
        for each in _checked(config, area):
            of = f"{each.camera}: " if area in _OF_CAMERA and config.cameras else ""
            try:
                findings.extend(Finding(found.area, found.verdict, of + found.text) for found in run(each))
            except EdgeError as exc:
                findings.append(Finding(area, "fail", f"{of}{exc}"))
    return [*findings, *(_memory(config, planned) if planned else ())]


def _checked(config: Config, area: str) -> list[Config]:
    """What a check runs on: every camera, but the model once for cameras with the same heads."""
    if area not in _OF_CAMERA:
        return [config]
    found: list[Config] = []
    for each in config.each:
        if area != "model" or all((each.heads, each.reuse) != (other.heads, other.reuse) for other in found):
            found.append(each)
    return found


def _files(config: Config) -> Iterator[Finding]:
    manifest = config.manifest
    if not manifest.sha256 and manifest.files():
        text = f"{manifest.folder / FILE} lists no sha256; a damaged or replaced graph would not be detected"
        yield Finding("files", "warn", text)
    for name in manifest.files():
        path = manifest.folder / name
        if not path.exists():
            yield Finding("files", "warn", f"{path}: does not exist; its target cannot be used on this machine")
            continue
        size = len(manifest.file(name).read())
        yield Finding("files", "ok", f"{path}: {size:,} bytes{', sha256 as listed' if manifest.sha256 else ''}")


def _memory(config: Config, board: memory.Board) -> Iterator[Finding]:
    """The memory of the process with all cameras: those after the first share its model."""
    first, *others = config.each
    extra = _extra(first, board)
    for each in others:
        items = [*memory.of_camera(each.manifest, board, _size(each)), *_extra(each, board)]
        for pool in dict.fromkeys(item.pool for item in items):
            size = sum(item.bytes for item in items if item.pool == pool)
            extra.append(memory.PlanItem(f"camera {each.camera}", size, pool))
    parts = first.reuse.mode == "auto" and board.target in first.manifest.shapes
    budget = memory.plan(first.manifest, board, _size(first), memory.measure_process(), extra, parts=parts)
    for text in budget.unknown:
        yield Finding("memory", "warn", text)
    verdict: Verdict = "ok" if budget.fits else "fail"
    for line in budget.lines():
        yield Finding("memory", verdict, line)


def _size(config: Config) -> tuple[int, int]:
    """Width and height of the frames, as configured or as recorded."""
    options = config.source.plugin.options
    size = (int(options.get("width") or 0), int(options.get("height") or 0))
    return size if all(size) else _frame_size(config)


def _extra(config: Config, board: memory.Board) -> list[memory.PlanItem]:
    """The memory of reuse and clips."""
    extra = []
    if config.reuse.mode != "off":
        references = reference_bytes(config.manifest.input)
        extra.append(memory.PlanItem("reference images for change detection", references, "ram"))
    if config.clips.enabled:
        extra += [memory.PlanItem(text, size, "ram") for text, size in memory_of_clips(config.clips)]
    parts = config.reuse.mode == "auto" and board.target in config.manifest.shapes
    if parts:
        maps = map_bytes(config.manifest, board.target)
        extra.append(memory.PlanItem("cached feature maps", maps, "ram"))
    return extra


def _frame_size(config: Config) -> tuple[int, int]:
    """Width and height of a recorded source's first frame; ASSUMED_FRAME for a live source."""
    try:
        with closing(build_source(config.source.plugin, ClipClock())) as source:
            frame = source.read(timeout_s=5.0) if source.live is None else None
    except (EdgeError, EndOfClip):
        return ASSUMED_FRAME
    return (frame.width, frame.height) if frame is not None else ASSUMED_FRAME


def _source(config: Config) -> Iterator[Finding]:
    """Construct the source, which checks its address and secrets; read a frame of a recorded one."""
    plugin = config.source.plugin
    with closing(build_source(plugin, ClipClock())) as source:
        if source.live is not None:
            yield Finding("source", "ok", f"{plugin.type}: configured; not opened by check")
            return
        try:
            frame = source.read(timeout_s=5.0)
        except EndOfClip:
            frame = None
    if frame is None:
        yield Finding("source", "fail", f"{plugin.type}: found no frame; expected at least one")
    else:
        yield Finding("source", "ok", f"{plugin.type}: first frame {frame.width}x{frame.height} {frame.format}")


def _sinks(config: Config) -> Iterator[Finding]:
    """Construct every sink, which checks its topics, certificates and secrets, but does not connect."""
    clock = SystemClock()
    for plugin in config.sinks:
        name = plugin.name or plugin.type
        if getattr(registry.find("sinks", plugin.type), "opens_file", False):
            yield Finding("sinks", "ok", f"{name}: configured; not opened by check")
            continue
        with ExitStack() as stack:
            build_sinks(config.replaced(sinks=(plugin,)), clock, device_id(config.device.id), stack)
        yield Finding("sinks", "ok", f"{name}: configured; not connected by check")


def _web(config: Config) -> Iterator[Finding]:
    """Read the token of the page."""
    if config.web.enabled:
        config.web.read_token()
        yield Finding("web", "ok", "configured; not served by check")
