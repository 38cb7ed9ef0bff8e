"""edge-app ...: the commands, their arguments and their exit codes (errors.py). Each one's work is elsewhere.

Nothing heavy is imported before a command is chosen, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_app import __version__
from edge_app.cli import host as host_cli
from edge_app.cli.arguments import DEFAULT_CONFIG, HOST_ONLY, Commands, add_config, load, positive
from edge_app.errors import EdgeError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; a mistake of the user's is one line on stderr, never a traceback."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except ModuleNotFoundError as exc:
        if exc.name not in HOST_ONLY:
            raise
        print(f"{exc.name}: not in this installation; expected a whole one, on a laptop", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `edge-app replay CLIP | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its exit
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-app",
        description="On-device vision runtime: camera frames in, structured results out.",
        epilog="Exit codes: 0 done, 2 you can fix it (one line says how), 3 the device cannot, 1 a bug.",
    )
    parser.add_argument("--version", action="version", version=f"edge-app {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_replay(commands)
    _add_check(commands)
    _add_outbox(commands)
    _add_status(commands)
    _add_doctor(commands)
    host_cli.add(commands)
    schema = commands.add_parser("schema", help="print the JSON Schema of what is published")
    schema.set_defaults(command=_schema)
    return parser


def _add_run(commands: Commands[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="the daemon's job, in the foreground", description=_run.__doc__)
    add_config(run)
    run.add_argument(
        "--source", metavar="X", help="a path, rtsp://…, /dev/videoN or synthetic: instead of the config's"
    )
    run.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    run.add_argument("--health-file", type=Path, metavar="FILE", help="tell the updater here whether all is well")
    run.add_argument("--release-file", type=Path, metavar="FILE", help="the updater's state.json: told upstream")
    run.add_argument(
        "--log", choices=("auto", "journal", "json", "text"), default="auto", help="default: journal under systemd"
    )
    run.set_defaults(command=_run)


def _add_replay(commands: Commands[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay", help="every frame of a clip, as fast as it goes, always the same output", description=_replay.__doc__
    )
    replay.add_argument("clip", metavar="CLIP", help="a video, or a folder of images")
    add_config(replay)
    replay.add_argument(
        "--out", default="-", metavar="FILE", help="where results go, a JSON object a line (default: -)"
    )
    replay.add_argument("--draw", type=Path, metavar="FILE.mp4", help="write the annotated clip")
    replay.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    replay.set_defaults(command=_replay)


def _add_check(commands: Commands[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check", help="everything that can be known before starting; exit 0 or 2", description=_check.__doc__
    )
    add_config(check)
    check.add_argument("--source", metavar="X", help="instead of the config's")
    check.add_argument("--board", metavar="NAME", help="plan its memory: rv1103, rv1106g2, rv1106g3, rk3566, rk3588")
    check.add_argument("--json", action="store_true", help="print one object")
    check.set_defaults(command=_check)


def _add_outbox(commands: Commands[argparse.ArgumentParser]) -> None:
    outbox = commands.add_parser("outbox", help="what is kept for sinks that are away")
    actions = outbox.add_subparsers(title="actions", metavar="WHAT", required=True)
    stats = actions.add_parser("stats", help="how much is kept, for whom", description=_outbox_stats.__doc__)
    stats.add_argument("--json", action="store_true", help="print one object")
    stats.set_defaults(command=_outbox_stats)
    shown = actions.add_parser(
        "list", help="print the messages, a JSON object a line", description=_outbox_list.__doc__
    )
    shown.add_argument("--refused", action="store_true", help="those that a sink would never take, and why")
    shown.set_defaults(command=_outbox_list)
    drop = actions.add_parser("drop", help="delete every message that waits", description=_outbox_drop.__doc__)
    drop.set_defaults(command=_outbox_drop)
    for action in (stats, shown, drop):
        add_config(action)


def _add_status(commands: Commands[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="the running daemon's state", description=_status.__doc__)
    status.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="the daemon's, default: ./config.yaml"
    )
    status.add_argument("--json", action="store_true", help="print one object")
    status.set_defaults(command=_status)


def _add_doctor(commands: Commands[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="what this board has, and what it lacks", description=_doctor.__doc__)
    doctor.add_argument("--json", action="store_true", help="print one object")
    doctor.set_defaults(command=_doctor)


def _run(arguments: argparse.Namespace) -> int:
    """Capture, infer and publish until the clip ends or a signal comes (SIGTERM, SIGINT)."""
    from edge_app import daemon
    from edge_app.daemon import logs

    logs.configure(arguments.log, sys.stderr, os.environ)
    outcome = daemon.run(
        lambda: load(arguments, arguments.source),
        max_frames=arguments.max_frames,
        health_file=arguments.health_file,
        release_file=arguments.release_file,
    )
    if outcome == "restart":  # in place: the service manager goes on watching this process
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    """Results for every frame, in order, nothing dropped: the same clip gives the same bytes."""
    from edge_app.cli import replay

    config = load(arguments, arguments.clip)
    replay.replay(config, out=arguments.out, draw=arguments.draw, max_frames=arguments.max_frames)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Check the configuration, the model's hashes, wiring and golden vectors, and the source's file."""
    from edge_app.cli import check

    findings = check.check(load(arguments, arguments.source), arguments.board)
    print(check.as_json(findings) if arguments.json else check.as_table(findings))
    return 0 if all(finding.verdict != "fail" for finding in findings) else 2


def _outbox_stats(arguments: argparse.Namespace) -> int:
    """Count what is kept on disk; a running daemon is not disturbed."""
    from dataclasses import asdict

    from edge_app.outbox import view

    found = asdict(view.stats(load(arguments).device.state_dir))
    if arguments.json:
        print(json.dumps(found, default=str))
    else:
        print("\n".join(f"{name:16} {value}" for name, value in found.items()))
    return 0


def _outbox_list(arguments: argparse.Namespace) -> int:
    """Print what is kept on disk, oldest first; a running daemon is not disturbed."""
    from edge_app.outbox import view

    for line in view.messages(load(arguments).device.state_dir, refused=arguments.refused):
        print(line)
    return 0


def _outbox_drop(arguments: argparse.Namespace) -> int:
    """Delete what waits for delivery. The daemon must not be running."""
    from edge_app.outbox import view

    print(f"{view.drop(load(arguments).device.state_dir)} messages dropped")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    """Ask the daemon that runs with this configuration's state_dir how it is."""
    from edge_app import config
    from edge_app.daemon import status_socket as control

    state = control.ask(config.load_device(arguments.config).state_dir)
    print(json.dumps(state, ensure_ascii=False) if arguments.json else control.as_table(state))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    """Look at SoC, NPU driver and runtime, cameras, memory, heat, clock and flash; what is absent is said."""
    from edge_app.cli import doctor

    findings = doctor.examine()
    print(doctor.as_json(findings) if arguments.json else doctor.as_table(findings))
    return 0


def _schema(_: argparse.Namespace) -> int:
    from edge_app.messages import SCHEMA_FILE

    print(SCHEMA_FILE.read_text(encoding="utf-8"), end="")
    return 0
