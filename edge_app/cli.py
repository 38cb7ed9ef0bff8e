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
from typing import TYPE_CHECKING

from edge_app import __version__
from edge_app.errors import ConfigError, EdgeError

if TYPE_CHECKING:
    from edge_app.config import Config

_HOST_ONLY = ("edge_app.bench", "edge_app.compiler")  # what a camera's release leaves out
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
    except ModuleNotFoundError as exc:
        if exc.name not in _HOST_ONLY:
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
    _add_compile(commands)
    _add_outbox(commands)
    _add_status(commands)
    _add_doctor(commands)
    _add_tune(commands)
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
    run.add_argument("--health-file", type=Path, metavar="FILE", help="tell the updater here whether all is well")
    run.add_argument("--release-file", type=Path, metavar="FILE", help="the updater's state.json: told upstream")
    run.add_argument(
        "--log", choices=("auto", "journal", "json", "text"), default="auto", help="default: journal under systemd"
    )
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
    check.add_argument("--board", metavar="NAME", help="plan its memory: rv1103, rv1106g2, rv1106g3, rk3566, rk3588")
    check.add_argument("--json", action="store_true", help="print one object")
    check.set_defaults(command=_check)


def _add_compile(commands: _Commands[argparse.ArgumentParser]) -> None:
    add = commands.add_parser("compile", help="host only: ONNX files to a model folder", description=_compile.__doc__)
    add.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="ONNX files, or a model folder")
    add.add_argument("--out", type=Path, metavar="DIR", help="the model folder to write: models/NAME")
    add.add_argument("--input", metavar="WxH", help="another image size than the files'")
    add.add_argument(
        "--calibrate",
        type=Path,
        action="append",
        default=[],
        metavar="CLIP|FOLDER",
        help="make int8 too; may be repeated",
    )
    add.add_argument("--target", default="onnx", metavar="LIST", help="onnx, rv1106, rk3588 … (default: onnx)")
    add.add_argument("--family", metavar="NAME", help="overrules what is recognised")
    add.add_argument("--labels", metavar="FILE", help="a label a line, or coco80")
    add.add_argument("--mean", metavar="A,B,C", help="of pixels 0..255, in the model's colour order")
    add.add_argument("--std", metavar="A,B,C")
    add.add_argument("--color", choices=("rgb", "bgr"), help="the model's colour order")
    add.add_argument("--resize", choices=("letterbox", "stretch"))
    add.add_argument("--cut", metavar="STRIDES", help="segments of the backbone end at these strides: 4,8,16, or none")
    add.add_argument("--rknn", type=Path, metavar="DIR", help="the RKNN converter's environment")
    add.add_argument("--setup-rknn", type=Path, metavar="DIR", help="make that environment (1.4 GB)")
    add.add_argument("--json", action="store_true", help="print one object")
    add.set_defaults(command=_compile)


def _add_outbox(commands: _Commands[argparse.ArgumentParser]) -> None:
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
        _add_config(action)


def _add_status(commands: _Commands[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="the running daemon's state", description=_status.__doc__)
    status.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="the daemon's, default: ./config.yaml"
    )
    status.add_argument("--json", action="store_true", help="print one object")
    status.set_defaults(command=_status)


def _add_doctor(commands: _Commands[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="what this board has, and what it lacks", description=_doctor.__doc__)
    doctor.add_argument("--json", action="store_true", help="print one object")
    doctor.set_defaults(command=_doctor)


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
    _add_bench_reuse(benches)
    outbox = benches.add_parser(
        "outbox",
        help="writes, syncs and speed of the durable queue beside persist-queue",
        description=_bench_outbox.__doc__,
    )
    outbox.add_argument("--seconds", type=_positive, default=30, metavar="N", help="of each publishing run")
    outbox.add_argument("--messages", type=_positive, default=20_000, metavar="N", help="of a drain")
    outbox.add_argument("--rounds", type=_positive, default=3, metavar="N", help="of drains; the median counts")
    outbox.add_argument(
        "--cameras", type=_positive, metavar="N", help="instead: N cameras at one broker, 5 a second each"
    )
    outbox.add_argument("--json", action="store_true", help="print one object")
    outbox.set_defaults(command=_bench_outbox)


def _add_bench_reuse(benches: _Commands[argparse.ArgumentParser]) -> None:
    reuse = benches.add_parser(
        "reuse",
        help="speed and agreement of reuse, beside what else the time could buy",
        description=_bench_reuse.__doc__,
    )
    reuse.add_argument("clips", nargs="+", metavar="CLIP", help="a video, or a folder of images")
    reuse.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR", help="default: models/digits")
    reuse.add_argument("--stress", action="store_true", help="also clips made of each: idle, sparse, and what is hard")
    reuse.add_argument("--only", metavar="NAME,…", default="", help="of the clips: idle,sparse,pan_1,clip.mp4")
    reuse.add_argument("--mode", choices=("gate", "auto"), default="auto", help="default: auto")
    reuse.add_argument("--tolerance", type=float, metavar="GREY", help="instead of the tuned or learned one")
    reuse.add_argument("--no-controls", action="store_true", help="only reuse and full inference")
    reuse.add_argument("--max-frames", type=_positive, metavar="N", help="of each clip")
    reuse.add_argument("--threads", type=_positive, default=1, metavar="N", help="of onnxruntime, on both sides")
    reuse.add_argument("--precision", choices=("float", "int8"), default="float", help="of onnxruntime, default: float")
    reuse.add_argument("--state", type=Path, metavar="DIR", help="a state_dir, for what `tune` found; default: nothing")
    reuse.add_argument("--json", action="store_true", help="print an array, an object a clip")
    reuse.add_argument("--plot", type=Path, metavar="FILE.png", help="draw cost and agreement of every method")
    reuse.set_defaults(command=_bench_reuse)


def _add_tune(commands: _Commands[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser("tune", help="what reuse may do on this camera, measured", description=_tune.__doc__)
    tune.add_argument("clip", metavar="CLIP", help="of this camera: a video, or a folder of images")
    _add_config(tune)
    tune.add_argument("--max-frames", type=_positive, default=300, metavar="N", help="of the clip, default: 300")
    tune.add_argument("--json", action="store_true", help="print one object")
    tune.set_defaults(command=_tune)


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
    from edge_app import daemon, logs

    logs.configure(arguments.log, sys.stderr, os.environ)
    outcome = daemon.run(
        lambda: _load(arguments, arguments.source),
        max_frames=arguments.max_frames,
        health_file=arguments.health_file,
        release_file=arguments.release_file,
    )
    if outcome == "restart":  # in place: the service manager goes on watching this process
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
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

    findings = check.check(_load(arguments, arguments.source), arguments.board)
    print(check.as_json(findings) if arguments.json else check.as_table(findings))
    return 0 if all(finding.verdict != "fail" for finding in findings) else 2


def _compile(arguments: argparse.Namespace) -> int:
    """Fold, share, split, quantise and convert models, prove each step, and write a model folder."""
    try:
        from edge_app.compiler import command
    except ImportError as exc:
        if exc.name in _HOST_ONLY:
            raise
        raise ConfigError(f"compile needs the library {exc.name}; expected: pip install 'edge-app[compiler]'") from exc

    return command.run(arguments)


def _outbox_stats(arguments: argparse.Namespace) -> int:
    """Count what is kept on disk; a running daemon is not disturbed."""
    from dataclasses import asdict

    from edge_app.outbox import view

    found = asdict(view.stats(_load(arguments).device.state_dir))
    if arguments.json:
        print(json.dumps(found, default=str))
    else:
        print("\n".join(f"{name:16} {value}" for name, value in found.items()))
    return 0


def _outbox_list(arguments: argparse.Namespace) -> int:
    """Print what is kept on disk, oldest first; a running daemon is not disturbed."""
    from edge_app.outbox import view

    for line in view.messages(_load(arguments).device.state_dir, refused=arguments.refused):
        print(line)
    return 0


def _outbox_drop(arguments: argparse.Namespace) -> int:
    """Delete what waits for delivery. The daemon must not be running."""
    from edge_app.outbox import view

    print(f"{view.drop(_load(arguments).device.state_dir)} messages dropped")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    """Ask the daemon that runs with this configuration's state_dir how it is."""
    import json

    from edge_app import config, control

    state = control.ask(config.load_device(arguments.config).state_dir)
    print(json.dumps(state, ensure_ascii=False) if arguments.json else control.as_table(state))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    """Look at SoC, NPU driver and runtime, cameras, memory, heat, clock and flash; what is absent is said."""
    from edge_app import doctor

    findings = doctor.examine()
    print(doctor.as_json(findings) if arguments.json else doctor.as_table(findings))
    return 0


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


def _bench_reuse(arguments: argparse.Namespace) -> int:
    """Look at clips with and without reuse, frame by frame in turns, and at equal cost in other ways."""
    from edge_app.bench.reuse import command, plot, report
    from edge_app.config import Model
    from edge_app.reuse_block import Reuse

    reports = command.bench(
        command.Plan(
            arguments.clips,
            Model(arguments.model, threads=arguments.threads, precision=arguments.precision),
            Reuse(mode=arguments.mode, tolerance=arguments.tolerance),
            stress=arguments.stress,
            only=tuple(name for name in arguments.only.split(",") if name),
            max_frames=arguments.max_frames,
            state_dir=arguments.state,
            controls=not arguments.no_controls,
        )
    )
    print(report.as_json(reports) if arguments.json else report.as_table(reports))
    if arguments.plot is not None:
        plot.plot(reports, arguments.plot)
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    """Measure noise, costs and agreement on a clip of this camera, and keep the tolerance that may be used."""
    from edge_app.bench import tune

    found = tune.tune(_load(arguments, arguments.clip), arguments.clip, arguments.max_frames)
    print(tune.as_json(found) if arguments.json else tune.as_table(found))
    return 0


def _bench_outbox(arguments: argparse.Namespace) -> int:
    """Publish and drain through a real Mosquitto; each figure from a process of its own."""
    from edge_app.bench import fleet, outbox

    if arguments.cameras:
        measured = fleet.bench(arguments.cameras, arguments.seconds)
        print(fleet.as_json(measured) if arguments.json else fleet.as_table(measured))
        return 0
    report = outbox.bench(outbox.Plan(arguments.seconds, arguments.messages, arguments.rounds))
    print(outbox.as_json(report) if arguments.json else outbox.as_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
