"""edge-app options: every option of config.yaml."""

from __future__ import annotations

import argparse
import json

from edge_app.cli.arguments import Commands


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "options",
        help="print every option of config.yaml: type, default, meaning",
        description="Print the options of config.yaml with their types, defaults and meanings, from the code that reads"
        " them. Types of installed packages are included.",
    )
    parser.add_argument(
        "block", nargs="?", metavar="BLOCK", help="only this block, such as sinks, or one type of it: sinks.mqtt"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json-schema", action="store_true", help="print a JSON Schema (draft 7), for editors")
    formats.add_argument("--markdown", action="store_true", help="print the table of the README files")
    parser.set_defaults(command=_options)


def _options(arguments: argparse.Namespace) -> int:
    from edge_app.config import json_schema, reference

    found = reference.sections(arguments.block)  # also checks the name
    if arguments.json_schema and arguments.block is None:
        print(json_schema.json_schema_text(), end="")
    elif arguments.json_schema:
        print(json.dumps(json_schema.json_schema(arguments.block), indent=1, ensure_ascii=False))
    else:
        print(reference.as_markdown(found) if arguments.markdown else reference.as_text(found))
    return 0
