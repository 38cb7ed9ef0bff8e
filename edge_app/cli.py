"""edge-app ...: the commands, their arguments and their exit codes (errors.py). Each one's work is elsewhere.

Nothing heavy is imported before a command is chosen, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app import __version__
from edge_app.errors import EdgeError

if TYPE_CHECKING:
    from edge_app.config import Config

DEFAULT_CONFIG = Path("config.yaml")
DEFAULT_MODEL = Path("models/digits")
DEFAULT_CLIP = DEFAULT_MODEL / "sample.mp4"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; a mistake of the user's is one line on stderr, never a traceback."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
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
    _add_bench(commands)
    schema = commands.add_parser("schema", help="print the JSON Schema of what is published")
    schema.set_defaults(command=_schema)
    return parser


_Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add_run(commands: _Commands[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="the daemon's job, in the foreground", description=_run.__doc__)
    _add_config(run)
    run.add_argument(
        "--source", metavar="X", help="a path, rtsp://…, /dev/videoN or synthetic: instead of the config's"
    )
    run.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    run.set_defaults(command=_run)


def _add_replay(commands: _Commands[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay", help="every frame of a clip, as fast as it goes, always the same output", description=_replay.__doc__
    )
    replay.add_argument("clip", metavar="CLIP", help="a video, or a folder of images")
    _add_config(replay)
    replay.add_argument(
        "--out", default="-", metavar="FILE", help="where results go, a JSON object a line (default: -)"
    )
    replay.add_argument("--draw", type=Path, metavar="FILE.mp4", help="write the annotated clip")
    replay.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    replay.set_defaults(command=_replay)


def _add_check(commands: _Commands[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check", help="everything that can be known before starting; exit 0 or 2", description=_check.__doc__
    )
    _add_config(check)
    check.add_argument("--source", metavar="X", help="instead of the config's")
    check.add_argument("--json", action="store_true", help="print one object")
    check.set_defaults(command=_check)


def _add_bench(commands: _Commands[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser("bench", help="side-by-side measurements")
    benches = bench.add_subparsers(title="benchmarks", metavar="WHAT", required=True)
    pipeline = benches.add_parser(
        "pipeline", help="frames a second, CPU and memory beside a plain loop", description=_bench_pipeline.__doc__
    )
    pipeline.add_argument("clip", nargs="?", default=str(DEFAULT_CLIP), metavar="CLIP", help="default: the sample clip")
    pipeline.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR", help="default: models/digits")
    pipeline.add_argument("--threads", type=_positive, default=1, metavar="N", help="of onnxruntime, on both sides")
    pipeline.add_argument("--rounds", type=_positive, default=3, metavar="N", help="interleaved; the median counts")
    pipeline.add_argument("--max-frames", type=_positive, metavar="N", help="of the clip, each round")
    pipeline.add_argument("--json", action="store_true", help="print one object")
    pipeline.set_defaults(command=_bench_pipeline)
    track = benches.add_parser(
        "track", help="identities and time beside the public trackers package", description=_bench_track.__doc__
    )
    track.add_argument("--boxes", type=Path, metavar="FILE.jsonl", help="results of `replay`, to be tracked as well")
    track.add_argument("--head", metavar="NAME", help="whose boxes; default: the first")
    track.add_argument("--seeds", type=_positive, default=6, metavar="N", help="scenes a row, default: 6")
    track.add_argument("--json", action="store_true", help="print one object")
    track.set_defaults(command=_bench_track)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: ./config.yaml"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model folder instead of the config's")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}'; expected a whole number from 1 on")
    return int(text)


def _load(arguments: argparse.Namespace, source: str | None = None) -> Config:
    from edge_app import config

    return config.load(arguments.config, source=source, model=arguments.model)


def _run(arguments: argparse.Namespace) -> int:
    """Capture, infer and publish until the clip ends or a signal comes (SIGTERM, SIGINT)."""
    from edge_app import daemon

    daemon.run(_load(arguments, arguments.source), max_frames=arguments.max_frames)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    """Results for every frame, in order, nothing dropped: the same clip gives the same bytes."""
    from edge_app import replay

    config = _load(arguments, arguments.clip)
    replay.replay(config, out=arguments.out, draw=arguments.draw, max_frames=arguments.max_frames)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Check the configuration, the model's hashes, wiring and golden vectors, and the source's file."""
    from edge_app import check

    findings = check.check(_load(arguments, arguments.source))
    print(check.as_json(findings) if arguments.json else check.as_table(findings))
    return 0 if all(finding.verdict != "fail" for finding in findings) else 2


def _schema(_: argparse.Namespace) -> int:
    from edge_app.messages import SCHEMA_FILE

    print(SCHEMA_FILE.read_text(encoding="utf-8"), end="")
    return 0


def _bench_pipeline(arguments: argparse.Namespace) -> int:
    """Measure the runtime beside a plain loop (decode, resize, run, numpy decode, NMSBoxes, json), interleaved."""
    from edge_app.bench import pipeline

    plan = pipeline.Plan(Path(arguments.clip), arguments.model, arguments.threads, arguments.max_frames)
    report = pipeline.bench(plan, arguments.rounds)
    print(pipeline.as_json(report) if arguments.json else pipeline.as_table(report))
    return 0


def _bench_track(arguments: argparse.Namespace) -> int:
    """Track made-up crowds with true identities, and boxes of a clip where given, with both trackers in one run."""
    from edge_app.bench import track

    report = track.bench(track.Plan(seeds=arguments.seeds, boxes=arguments.boxes, head=arguments.head))
    print(track.as_json(report) if arguments.json else track.as_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
