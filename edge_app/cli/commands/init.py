"""edge-app init: write a folder that runs."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from edge_app.cli.arguments import Commands


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "init",
        help="write a folder that runs: configuration, demo model and clip",
        description="Write the demo to a folder: config.yaml, its JSON Schema for editors, the model and the clip."
        " Existing files are never replaced.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="created if missing (default: this folder)"
    )
    parser.set_defaults(command=_init)


def _init(arguments: argparse.Namespace) -> int:
    from edge_app.cli import demo
    from edge_app.config import json_schema

    written = demo.write(arguments.folder, json_schema.json_schema_text())
    print(f"{arguments.folder}: wrote {', '.join(written)}")
    step = "" if arguments.folder == Path() else f"cd {shlex.quote(str(arguments.folder))} && "
    print(f"next: {step}edge-app run")
    return 0
