"""edge-app replay: the results of every frame of a clip."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_app.cli.arguments import Commands, add_camera, add_config, add_precision, load, positive


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "replay",
        help="process every frame of a clip, as fast as possible, with reproducible output",
        description="Process every frame of a clip in order, as fast as possible. No frame is dropped, and the same"
        " clip gives the same bytes. Configured sinks are not used.",
    )
    parser.add_argument("clip", metavar="CLIP", help="a video, an image, or a folder of images")
    add_config(parser)
    add_precision(parser)
    add_camera(parser)
    parser.add_argument(
        "--out", default="-", metavar="FILE", help="write results here, one JSON object per line (default: -, stdout)"
    )
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="FILE",
        help="also write the clip with results drawn in; browsers play .webm and .mp4",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 2 if a frame of the clip cannot be decoded")
    parser.add_argument("--fps", type=_rate, metavar="N", help="frames per second, for a clip without timestamps")
    parser.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    parser.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    from edge_app.cli import replay
    from edge_app.cli.memory_limit import limit_data
    from edge_app.inference import precision

    limit_data()
    config = load(arguments, arguments.clip, demo=True)
    if arguments.precision == "auto":  # in config.yaml it means float for a replay; here it is asked for
        model = precision.choose(config.manifest, config.model, config.heads, config.device.state_dir)
        config = config.replaced(model=model)
    if arguments.fps is not None:
        config = replay.with_rate(config, arguments.fps)
    replay.replay(
        config,
        out=arguments.out,
        draw=arguments.draw,
        max_frames=arguments.max_frames,
        strict=arguments.strict,
    )
    return 0


def _rate(text: str) -> float:
    """Parse a frame rate; for argparse's `type`."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"found '{text}'; expected a number from 0.001 to 1000")
    return rate
