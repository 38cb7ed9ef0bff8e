"""edge-app run: run the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge_app.cli.arguments import Commands, add_camera, add_config, add_precision, add_source, load, positive


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="capture, infer and publish, as the daemon does",
        description="Capture, infer and publish until the clip ends, or until SIGTERM or SIGINT. SIGHUP, or a change"
        " of the file, reloads the configuration.",
    )
    add_config(parser)
    add_source(parser)
    add_camera(parser)
    add_precision(parser)
    parser.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--health-file", type=Path, metavar="FILE", help="write the health report for the updater here")
    parser.add_argument(
        "--release-file",
        type=Path,
        metavar="FILE",
        help="the updater's state.json: heartbeats then name the running release",
    )
    parser.add_argument(
        "--log",
        choices=("auto", "journal", "json", "text"),
        default="auto",
        help="log format (default: auto, which is journal under systemd and else text)",
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from edge_app import daemon
    from edge_app.cli.memory_limit import limit_data
    from edge_app.daemon import logs

    logs.configure(arguments.log, sys.stderr, os.environ)
    limit_data()
    outcome = daemon.run(
        lambda: load(arguments, arguments.source, demo=True, use_unfit=True),
        max_frames=arguments.max_frames,
        health_file=arguments.health_file,
        release_file=arguments.release_file,
    )
    if outcome == "restart":  # in place: the service manager keeps watching the same process
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return 0
