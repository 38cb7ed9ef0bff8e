"""edge-app tune: calibrate reuse for one camera. Host only."""

from __future__ import annotations

import argparse
import sys

from edge_app.cli.arguments import Commands, add_config, add_json, load, positive


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "tune",
        help="host only: calibrate reuse for a model on a camera",
        description="Measure noise, costs and agreement on a clip of this camera, and store the fastest"
        " reuse settings whose results agree with full inference. A stored result that was measured on more frames is"
        " kept. Exit code 2 if the configuration has no block 'reuse', since nothing would use the result.",
    )
    parser.add_argument("clip", metavar="CLIP", help="recorded by this camera: a video, or a folder of images")
    add_config(parser)
    parser.add_argument(
        "--max-frames",
        type=positive,
        default=300,
        metavar="N",
        help="use the first N frames (default: 300)",
    )
    parser.add_argument("--force", action="store_true", help="replace a result that was measured on more frames")
    add_json(parser)
    parser.set_defaults(command=_tune)


def _tune(arguments: argparse.Namespace) -> int:
    from edge_app.bench import tune
    from edge_app.daemon.state_dir import make_private, private_umask

    config = load(arguments, arguments.clip, demo=True)
    with private_umask():
        if config.device.state_dir.exists():
            make_private(config.device.state_dir)
        report = tune.tune(config, arguments.clip, arguments.max_frames, force=arguments.force)
    print(tune.as_json(report) if arguments.json else tune.as_table(report))
    if arguments.json and report.kept_frames is not None:
        print(tune.outcome(report), file=sys.stderr)
    return 0
