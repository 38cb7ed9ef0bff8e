"""edge-app totals: how many objects crossed each line and entered each zone."""

from __future__ import annotations

import argparse

from edge_app.cli.arguments import Commands, add_config_file, add_json, config_file


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "totals",
        help="show how many objects crossed each line and entered each zone",
        description="Show how many objects crossed each line and entered each zone, by day or hour. The counts are kept"
        " over restarts: hours for 31 days, days for two years. A running daemon is not affected; it writes them once a"
        " minute.",
    )
    add_config_file(parser, "the daemon's configuration")
    parser.add_argument(
        "--by", choices=("hour", "day", "total"), default="day", help="one line for each of these (default: day)"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--csv", action="store_true", help="print comma-separated values instead of a table")
    add_json(formats)
    parser.set_defaults(command=_totals)


def _totals(arguments: argparse.Namespace) -> int:
    from edge_app import config
    from edge_app.schedule import system_zone
    from edge_app.totals import report

    listed = report.rows(config.load_device(config_file(arguments.config)).state_dir, arguments.by, system_zone())
    print(report.render(listed, "json" if arguments.json else "csv" if arguments.csv else "table"))
    return 0
