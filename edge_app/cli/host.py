"""edge-app compile, tune, bench: the commands of the host, which a camera's release leaves out.

Their arguments are listed everywhere, so that `--help` says what there is; their work is in compiler/ and bench/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_app.cli.arguments import DEFAULT_CLIP, DEFAULT_MODEL, HOST_ONLY, Commands, add_config, load, positive
from edge_app.errors import ConfigError


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the three commands."""
    _add_compile(commands)
    _add_tune(commands)
    _add_bench(commands)


def _add_compile(commands: Commands[argparse.ArgumentParser]) -> None:
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
    add.add_argument("--npu-shapes", metavar="WxH,…", help="parts of a picture that reuse computes on NPUs")
    add.add_argument("--rknn", type=Path, metavar="DIR", help="the RKNN converter's environment")
    add.add_argument("--setup-rknn", type=Path, metavar="DIR", help="make that environment (1.4 GB)")
    add.add_argument("--json", action="store_true", help="print one object")
    add.set_defaults(command=_compile)


def _add_tune(commands: Commands[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser("tune", help="what reuse may do on this camera, measured", description=_tune.__doc__)
    tune.add_argument("clip", metavar="CLIP", help="of this camera: a video, or a folder of images")
    add_config(tune)
    tune.add_argument("--max-frames", type=positive, default=300, metavar="N", help="of the clip, default: 300")
    tune.add_argument("--json", action="store_true", help="print one object")
    tune.set_defaults(command=_tune)


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser("bench", help="side-by-side measurements")
    benches = bench.add_subparsers(title="benchmarks", metavar="WHAT", required=True)
    pipeline = benches.add_parser(
        "pipeline", help="frames a second, CPU and memory beside a plain loop", description=_bench_pipeline.__doc__
    )
    pipeline.add_argument("clip", nargs="?", default=str(DEFAULT_CLIP), metavar="CLIP", help="default: the sample clip")
    pipeline.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR", help="default: models/digits")
    pipeline.add_argument("--threads", type=positive, default=1, metavar="N", help="of onnxruntime, on both sides")
    pipeline.add_argument("--rounds", type=positive, default=5, metavar="N", help="interleaved; the median counts")
    pipeline.add_argument("--max-frames", type=positive, metavar="N", help="of the clip, each round")
    pipeline.add_argument("--json", action="store_true", help="print one object")
    pipeline.set_defaults(command=_bench_pipeline)
    track = benches.add_parser(
        "track", help="identities and time beside the public trackers package", description=_bench_track.__doc__
    )
    track.add_argument("--boxes", type=Path, metavar="FILE.jsonl", help="results of `replay`, to be tracked as well")
    track.add_argument("--head", metavar="NAME", help="whose boxes; default: the first")
    track.add_argument("--seeds", type=positive, default=6, metavar="N", help="scenes a row, default: 6")
    track.add_argument("--json", action="store_true", help="print one object")
    track.set_defaults(command=_bench_track)
    _add_bench_reuse(benches)
    outbox = benches.add_parser(
        "outbox",
        help="writes, syncs and speed of the durable queue beside persist-queue",
        description=_bench_outbox.__doc__,
    )
    outbox.add_argument("--seconds", type=positive, default=30, metavar="N", help="of each publishing run")
    outbox.add_argument("--messages", type=positive, default=20_000, metavar="N", help="of a drain")
    outbox.add_argument("--rounds", type=positive, default=3, metavar="N", help="of drains; the median counts")
    outbox.add_argument(
        "--cameras", type=positive, metavar="N", help="instead: N cameras at one broker, 5 a second each"
    )
    outbox.add_argument("--json", action="store_true", help="print one object")
    outbox.set_defaults(command=_bench_outbox)


def _add_bench_reuse(benches: Commands[argparse.ArgumentParser]) -> None:
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
    reuse.add_argument("--max-frames", type=positive, metavar="N", help="of each clip")
    reuse.add_argument("--threads", type=positive, default=1, metavar="N", help="of onnxruntime, on both sides")
    reuse.add_argument("--precision", choices=("float", "int8"), default="float", help="of onnxruntime, default: float")
    reuse.add_argument("--state", type=Path, metavar="DIR", help="a state_dir, for what `tune` found; default: nothing")
    reuse.add_argument("--json", action="store_true", help="print an array, an object a clip")
    reuse.add_argument("--plot", type=Path, metavar="FILE.png", help="draw cost and agreement of every method")
    reuse.set_defaults(command=_bench_reuse)


def _compile(arguments: argparse.Namespace) -> int:
    """Fold, share, split, quantise and convert models, prove each step, and write a model folder."""
    try:
        from edge_app.compiler import command
    except ImportError as exc:
        if exc.name in HOST_ONLY:
            raise
        raise ConfigError(f"compile needs the library {exc.name}; expected: pip install 'edge-app[compiler]'") from exc

    return command.run(arguments)


def _tune(arguments: argparse.Namespace) -> int:
    """Measure noise, costs and agreement on a clip of this camera, and keep the tolerance that may be used."""
    from edge_app.bench import tune

    found = tune.tune(load(arguments, arguments.clip), arguments.clip, arguments.max_frames)
    print(tune.as_json(found) if arguments.json else tune.as_table(found))
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
    from edge_app.config import ModelConfig
    from edge_app.config.reuse import ReuseConfig

    reports = command.bench(
        command.Plan(
            arguments.clips,
            ModelConfig(arguments.model, threads=arguments.threads, precision=arguments.precision),
            ReuseConfig(mode=arguments.mode, tolerance=arguments.tolerance),
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
