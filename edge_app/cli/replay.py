"""The work of `edge-app replay`: process every frame of a recorded clip, in order, as fast as possible."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from edge_app import pipeline, registry
from edge_app.config import Config, PluginConfig, SourceConfig
from edge_app.drawing.clip_writer import ClipWriter
from edge_app.errors import ClipError, ConfigError, EndOfClip
from edge_app.terminal import Progress


def replay(
    config: Config, *, out: str, draw: Path | None = None, max_frames: int | None = None, strict: bool = False
) -> int:
    """Replay `config.source` and write results as JSON lines to `out` ("-": stdout). Returns the number of frames.

    The same clip gives the same bytes. The configured sinks are not used. draw: path of an annotated clip to write.
    strict: raise ClipError after the last frame if frames of the clip are missing. Raises ConfigError if the source is
    live, EdgeError if a stage fails.
    """
    file = {"path": Path(out), "append": False, "max_mb": None}
    sink = PluginConfig("jsonl", {"path": out} if out == "-" else file, "--out")
    config = config.replaced(source=_as_fast_as_possible(config.source), sinks=(sink,))
    frames = 0
    with (
        pipeline.build(config, replay=True) as running,
        _writer(draw, config) as writer,
        Progress("replay", "frames", closing=True) as progress,
    ):
        try:
            while frames != max_frames:
                frame = running.step()
                if frame is None:
                    continue
                if writer is not None:
                    writer.write(frame, running.overlay())
                frames += 1
                if frames == 1:
                    progress.total = _total(running.stats().capture.expected, max_frames)
                progress.update()
        except EndOfClip:
            pass
        missing = running.stats().capture.missing
        if strict and missing:
            raise ClipError(f"replay --strict: found {missing} frames that could not be decoded; expected none")
    return frames


def _total(expected: int | None, max_frames: int | None) -> int | None:
    return min((number for number in (expected, max_frames) if number is not None), default=None)


def _as_fast_as_possible(source: SourceConfig) -> SourceConfig:
    plugin = source.plugin
    names = {option.name for option in registry.options("sources", plugin.type)}
    if plugin.type in ("rtsp", "http", "v4l2"):
        raise ConfigError(f"replay: found a live source ({plugin.type}); expected a recorded clip")
    options = {**plugin.options, "pace": "fast"} if "pace" in names else plugin.options
    return SourceConfig(source.common, PluginConfig(plugin.type, options, plugin.where))


def with_rate(config: Config, fps: float) -> Config:
    """The configuration with frames stamped at this rate, by the source's option `fps`. Raises ConfigError without."""
    plugin = config.source.plugin
    if "fps" not in {option.name for option in registry.options("sources", plugin.type)}:
        raise ConfigError(f"--fps: the source {plugin.type} has no option fps; expected a video or images")
    options = {**plugin.options, "fps": fps}
    return config.replaced(source=SourceConfig(config.source.common, PluginConfig(plugin.type, options, plugin.where)))


def _writer(path: Path | None, config: Config) -> AbstractContextManager[ClipWriter | None]:
    if path is None:
        return nullcontext()
    return closing(ClipWriter(path, {name: head.labels for name, head in config.manifest.heads.items()}))
