"""edge-app config: what was saved over config.yaml."""

from __future__ import annotations

import argparse

from edge_app.cli.arguments import Commands, add_config_file, config_file


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "config",
        help="remove what the page or a command has saved over config.yaml",
        description="On a camera whose config.yaml cannot be written, the page and commands save their changes in"
        " overrides.yaml in state_dir, which is loaded over config.yaml. `edge-app check` lists them.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    reset = actions.add_parser(
        "reset",
        help="delete overrides.yaml",
        description="Delete overrides.yaml, so that config.yaml alone holds. A running daemon applies it at once.",
    )
    add_config_file(reset, "the daemon's configuration")
    reset.set_defaults(command=_reset)


def _reset(arguments: argparse.Namespace) -> int:
    from edge_app import config
    from edge_app.config import overrides

    state_dir = config.load_device(config_file(arguments.config)).state_dir
    removed = overrides.reset(state_dir)
    if removed is None:
        print(f"{state_dir / overrides.FILE}: there is none")
    else:
        print(f"{state_dir / overrides.FILE} deleted: {', '.join(removed) or 'unreadable'}")
    return 0
