"""edge-app doctor: report the hardware and software of this board."""

from __future__ import annotations

import argparse

from edge_app.cli.arguments import Commands, add_json


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="show which parts this board has and lacks, and their problems",
        description="Examine SoC, NPU driver and runtime, cameras, memory, temperature, clock and flash wear. Only"
        " files are read: no camera and no NPU is opened. Missing parts are listed as absent.",
    )
    add_json(parser)
    parser.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from edge_app.cli import doctor, findings

    results = doctor.examine()
    if arguments.json:
        no_warning = all(finding.verdict != "warn" for finding in results)
        print(findings.as_json(results, ok=no_warning, list_key="facts", area_key="area"))
    else:
        print(findings.as_table(results))
    return 0
