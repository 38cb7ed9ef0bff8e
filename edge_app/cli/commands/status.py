"""edge-app status: the state of the running daemon."""

from __future__ import annotations

import argparse
import json

from edge_app.cli.arguments import Commands, add_config_file, add_json


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status",
        help="show the state of the running daemon",
        description="Show the state of the daemon that runs with this configuration: frames, stage times, faults,"
        " queues, memory, temperature. Only the daemon's user and root may ask.",
    )
    add_config_file(parser, "the daemon's configuration")
    add_json(parser)
    parser.set_defaults(command=_status)


def _status(arguments: argparse.Namespace) -> int:
    from edge_app import config
    from edge_app.daemon import status_socket

    state = status_socket.request_status(config.load_device(arguments.config).state_dir)
    print(json.dumps(state, ensure_ascii=False) if arguments.json else status_socket.as_table(state))
    return 0
