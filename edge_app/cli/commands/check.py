"""edge-app check: check the configuration, the model and the sinks before a start."""

from __future__ import annotations

import argparse

from edge_app.cli.arguments import Commands, add_camera, add_config, add_json, add_source, load


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="check everything that can be checked before a start; exit code 0 or 2",
        description="Check the configuration, the model's hashes, graphs and golden vectors, the source's file, the"
        " sinks' options, and memory. Cameras and servers are not contacted. Exit code: 0, or 2 if a check fails.",
    )
    add_config(parser)
    add_source(parser)
    add_camera(parser)
    parser.add_argument(
        "--board",
        metavar="NAME",
        help="plan the memory of this board, such as rv1106g3, rk3588 or 'Luckfox Pico Max' (default: this board)",
    )
    add_json(parser)
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    from edge_app.cli import check, findings

    results = check.check(load(arguments, arguments.source, demo=True, use_unfit=True), arguments.board)
    passed = all(finding.verdict != "fail" for finding in results)
    if arguments.json:
        print(findings.as_json(results, ok=passed, list_key="findings", area_key="what"))
    else:
        print(findings.as_table(results))
    return 0 if passed else 2
