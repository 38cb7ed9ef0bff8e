"""edge-app totals: how many objects crossed each line and entered each zone."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_app.cli.arguments import DEFAULT_CONFIG, Commands, add_json


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "totals",
        help="show how many objects crossed each line and entered each zone",
        description="Show how many objects crossed each line and entered each zone, by day or hour. The counts are kept"
        " over restarts: hours for 31 days, days for two years. A running daemon is not affected; it writes them once a"
        " minute.",
    )
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the daemon's configuration (default: config.yaml)",
    )
    parser.add_argument(
        "--by", choices=("hour", "day", "total"), default="day", help="one line for each of these (default: day)"
    )
    parser.add_argument("--csv", action="store_true", help="print comma-separated values instead of a table")
    add_json(parser)
    parser.set_defaults(command=_totals)


def _totals(arguments: argparse.Namespace) -> int:
    from edge_app import config
    from edge_app.schedule import system_zone
    from edge_app.totals import report

    listed = report.rows(config.load_device(arguments.config).state_dir, arguments.by, system_zone())
    print(report.render(listed, "json" if arguments.json else "csv" if arguments.csv else "table"))
    return 0
