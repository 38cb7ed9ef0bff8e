"""edge-app replay: the results of every frame of a clip."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_app.cli.arguments import Commands, add_config, add_precision, load, positive


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "replay",
        help="process every frame of a clip, as fast as possible, with reproducible output",
        description="Process every frame of a clip in order, as fast as possible. No frame is dropped, and the same"
        " clip gives the same bytes. Configured sinks are not used.",
    )
    parser.add_argument("clip", metavar="CLIP", help="a video, or a folder of images")
    add_config(parser)
    add_precision(parser)
    parser.add_argument(
        "--out", default="-", metavar="FILE", help="write results here, one JSON object per line (default: -, stdout)"
    )
    parser.add_argument("--draw", type=Path, metavar="FILE.mp4", help="also write the clip with results drawn in")
    parser.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    parser.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    from edge_app.cli import replay
    from edge_app.cli.memory_limit import limit_data
    from edge_app.inference import precision

    limit_data()
    config = load(arguments, arguments.clip)
    if arguments.precision == "auto":  # in config.yaml it means float for a replay; here it is asked for
        model = precision.choose(config.manifest, config.model, config.heads, config.device.state_dir)
        config = config.replaced(model=model)
    replay.replay(config, out=arguments.out, draw=arguments.draw, max_frames=arguments.max_frames)
    return 0
