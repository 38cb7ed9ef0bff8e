"""edge-app outbox: undelivered messages on disk."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from edge_app.cli.arguments import Commands, add_config, add_json, load


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "outbox",
        help="show or delete undelivered messages, queued for unreachable sinks",
        description="Show or delete the messages that are stored on disk until their sinks accept them.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    stats = actions.add_parser(
        "stats",
        help="count undelivered messages, per sink",
        description="Count undelivered messages, per sink. A running daemon is not affected.",
    )
    add_json(stats)
    stats.set_defaults(command=_stats)
    listing = actions.add_parser(
        "list",
        help="print undelivered messages, one JSON object per line",
        description="Print undelivered messages, oldest first, one JSON object per line. A running daemon is not"
        " affected.",
    )
    listing.add_argument(
        "--refused", action="store_true", help="print the messages that a sink rejected permanently, and why"
    )
    listing.set_defaults(command=_list)
    drop = actions.add_parser(
        "drop",
        help="delete all undelivered messages",
        description="Delete all undelivered messages. The daemon must not be running.",
    )
    drop.set_defaults(command=_drop)
    for action in (stats, listing, drop):
        add_config(action)


def _stats(arguments: argparse.Namespace) -> int:
    from edge_app.outbox import view

    contents = asdict(view.stats(load(arguments).device.state_dir))
    if arguments.json:
        print(json.dumps(contents, default=str))
    else:
        print("\n".join(f"{name:16} {value}" for name, value in contents.items()))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from edge_app.outbox import view

    for line in view.messages(load(arguments).device.state_dir, refused=arguments.refused):
        print(line)
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    from edge_app.outbox import view

    print(f"{view.drop(load(arguments).device.state_dir)} messages dropped")
    return 0
