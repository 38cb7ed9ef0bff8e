"""edge-app status: the state of the running daemon."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edge_app.cli.arguments import DEFAULT_CONFIG, Commands, add_config_file, add_json, config_file
from edge_app.errors import ConfigError


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status",
        help="show the state of the running daemon",
        description="Show the state of the daemon that runs with this configuration: frames, stage times, faults,"
        " queues, memory, temperature. Only the daemon's user and root may ask. The daemon answers also if the file was"
        " changed, damaged or removed since.",
    )
    add_config_file(parser, "the daemon's configuration")
    add_json(parser)
    parser.set_defaults(command=_status)


def _status(arguments: argparse.Namespace) -> int:
    from edge_app.daemon import status_socket

    state = _find(arguments.config)
    print(json.dumps(state, ensure_ascii=False) if arguments.json else status_socket.as_table(state))
    return 0


def _find(path: Path) -> dict[str, Any]:
    """The status of the daemon of this configuration, even if the file was changed, damaged or removed since.

    Without a file at the default path: that of the only running daemon. Raises ConfigError if there is none.
    """
    from edge_app import config
    from edge_app.daemon import discovery, status_socket

    try:
        return status_socket.request_status(config.load_device(config_file(path)).state_dir)
    except ConfigError as exc:
        state = discovery.status_of(path)
        if state is None and path == DEFAULT_CONFIG and not path.exists():
            state = _only(list(discovery.running()))
        if state is None:
            raise
        about = f"shown is process {state.get('pid')}, started with {state.get('config')}"
        print(f"{exc.problems[0]}; {about}", file=sys.stderr)
        return state


def _only(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Raises ConfigError if several daemons run."""
    if len(found) > 1:
        names = ", ".join(str(state.get("config")) for state in found)
        raise ConfigError(f"status: found {len(found)} running daemons; expected --config FILE, one of: {names}")
    return found[0] if found else None
