"""edge-app schema: the JSON Schema of published messages."""

from __future__ import annotations

import argparse

from edge_app.cli.arguments import Commands


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "print the JSON Schema of published messages"
    parser = commands.add_parser("schema", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=_schema)


def _schema(_: argparse.Namespace) -> int:
    from edge_app.messages import SCHEMA_FILE

    print(SCHEMA_FILE.read_text(encoding="utf-8"), end="")
    return 0
