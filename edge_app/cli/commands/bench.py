"""edge-app bench: measure edge-app next to an alternative. Host only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.cli import demo
from edge_app.cli.arguments import Commands, add_json, add_precision, positive

if TYPE_CHECKING:
    from edge_app.config import ModelConfig


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="host only: measure edge-app next to an alternative",
        description="Measure edge-app and an alternative in one run, interleaved.",
    )
    benches = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    _add_pipeline(benches)
    _add_track(benches)
    _add_reuse(benches)
    _add_outbox(benches)
    _add_cameras(benches)
    _add_compare(benches)


def _add_pipeline(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "pipeline",
        help="frames per second, CPU and memory, compared with a plain loop",
        description="Measure the runtime and a plain loop (decode, resize, run, numpy decode, NMSBoxes, json),"
        " interleaved.",
    )
    parser.add_argument("clip", nargs="?", type=Path, metavar="CLIP", help="default: the demo's clip")
    _add_model(parser)
    _add_threads(parser)
    add_precision(parser, "float")
    parser.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="interleaved rounds; the median counts (default: 5)"
    )
    parser.add_argument("--max-frames", type=positive, metavar="N", help="use the first N frames of the clip")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="plot frame rate and CPU time of both")
    add_json(parser)
    parser.set_defaults(command=_pipeline)


def _add_track(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "track",
        help="identities and time, compared with the public trackers package",
        description="Track simulated crowds with known identities, and optionally recorded boxes, with both trackers"
        " in one run.",
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE.jsonl", help="also track these results of `replay`")
    parser.add_argument("--head", metavar="NAME", help="the head whose boxes are tracked (default: the first)")
    parser.add_argument(
        "--seeds", type=positive, default=6, metavar="N", help="simulated scenes per table row (default: 6)"
    )
    add_json(parser)
    parser.set_defaults(command=_track)


def _add_reuse(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "reuse",
        help="speed and agreement of reuse, compared with other ways to save time",
        description="Run clips with and without reuse, alternating frame by frame, and with other methods at equal"
        " cost.",
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="a video, or a folder of images")
    _add_model(parser)
    parser.add_argument(
        "--stress", action="store_true", help="also generate clips from each one: idle, sparse, and hard cases"
    )
    parser.add_argument(
        "--only", metavar="NAME,…", default="", help="run only these clips, such as idle,sparse,pan_1,clip.mp4"
    )
    parser.add_argument("--mode", choices=("gate", "auto"), default="auto", help="reuse mode (default: auto)")
    parser.add_argument(
        "--tolerance", type=float, metavar="GRAY", help="tolerance in gray levels (default: tuned or learned)"
    )
    parser.add_argument("--no-controls", action="store_true", help="measure only reuse and full inference")
    parser.add_argument("--max-frames", type=positive, metavar="N", help="use the first N frames of each clip")
    _add_threads(parser)
    add_precision(parser, "float")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="a state_dir with the results of `tune` (default: untuned)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array, one object per clip")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="plot cost and agreement of every method")
    parser.set_defaults(command=_reuse)


def _add_outbox(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "outbox",
        help="writes, syncs and speed of the durable queue, compared with persist-queue",
        description="Publish and drain through a real Mosquitto broker; every figure comes from its own process.",
    )
    parser.add_argument(
        "--seconds", type=positive, default=30, metavar="N", help="length of a publishing run (default: 30)"
    )
    parser.add_argument(
        "--messages", type=positive, default=20_000, metavar="N", help="messages per drain (default: 20000)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=3, metavar="N", help="drains; the median counts (default: 3)"
    )
    parser.add_argument(
        "--cameras",
        type=positive,
        metavar="N",
        help="instead, run N cameras that publish to one broker, 5 messages per second each",
    )
    add_json(parser)
    parser.set_defaults(command=_outbox)


def _add_cameras(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "cameras",
        help="several cameras in one process: memory, frames per second, fairness, faults",
        description="Run one, two, four and eight cameras of a clip in one process, and four of which one hangs, floods"
        " or dies.",
    )
    parser.add_argument("clip", nargs="?", type=Path, metavar="CLIP", help="default: the demo's clip")
    _add_model(parser)
    _add_threads(parser)
    parser.add_argument(
        "--counts", type=_counts, default=(1, 2, 4, 8), metavar="N,…", help="numbers of cameras (default: 1,2,4,8)"
    )
    parser.add_argument(
        "--seconds", type=positive, default=10, metavar="N", help="measured time of a pass (default: 10)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=3, metavar="N", help="interleaved rounds; the median counts (default: 3)"
    )
    add_json(parser)
    parser.set_defaults(command=_cameras)


def _counts(text: str) -> tuple[int, ...]:
    """Parse numbers of cameras; for argparse's `type`."""
    counts = tuple(positive(part) for part in text.split(","))
    if list(counts) != sorted(set(counts)):
        raise argparse.ArgumentTypeError(f"found '{text}'; expected ascending numbers, such as 1,2,4")
    return counts


def _add_compare(benches: Commands[argparse.ArgumentParser]) -> None:
    parser = benches.add_parser(
        "compare",
        help="two builds of edge-app, before and after a change",
        description="Run one benchmark with two builds alternately, and report the median of the paired ratios.",
        usage="edge-app bench compare OLD_PYTHON [--new PYTHON] [--pairs N] [--json] -- BENCHMARK …",
    )
    parser.add_argument("old", type=Path, metavar="OLD_PYTHON", help="the interpreter that has the old build")
    parser.add_argument(
        "--new", type=Path, default=Path(sys.executable), metavar="PYTHON", help="of the new build (default: this one)"
    )
    parser.add_argument("--pairs", type=positive, default=10, metavar="N", help="runs of each build (default: 10)")
    add_json(parser)
    parser.add_argument(
        "benchmark", nargs="+", metavar="BENCHMARK", help="after --: pipeline, reuse or outbox, and its arguments"
    )
    parser.set_defaults(command=_compare)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder (default: the demo's, models/digits)")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads of onnxruntime, on both sides (default: 1)"
    )


def _model(arguments: argparse.Namespace) -> ModelConfig:
    """The model to measure on onnxruntime. The precision `auto` is measured here, and not stored."""
    from edge_app.config import HeadCommon, HeadConfig, ModelConfig
    from edge_app.inference import precision
    from edge_app.model import manifest

    model = ModelConfig(arguments.model or demo.file(demo.MODEL), "onnx", arguments.threads, arguments.precision)
    if model.precision != "auto":
        return model
    loaded = manifest.load(model.path)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    return precision.choose(loaded, model, heads, None)


def _pipeline(arguments: argparse.Namespace) -> int:
    from edge_app.bench import figures, pipeline, pipeline_plot

    if arguments.plot is not None:
        figures.check_available()
    model, clip = _model(arguments), arguments.clip or demo.file(demo.CLIP)
    plan = pipeline.Plan(clip, model.path, model.threads, arguments.max_frames, model.precision)
    report = pipeline.bench(plan, arguments.rounds)
    print(pipeline.as_json(report) if arguments.json else pipeline.as_table(report))
    if arguments.plot is not None:
        pipeline_plot.plot(report, arguments.plot)
    return 0


def _track(arguments: argparse.Namespace) -> int:
    from edge_app.bench import track

    report = track.bench(track.Plan(seeds=arguments.seeds, boxes=arguments.boxes, head=arguments.head))
    print(track.as_json(report) if arguments.json else track.as_table(report))
    return 0


def _reuse(arguments: argparse.Namespace) -> int:
    from edge_app.bench import figures
    from edge_app.bench.reuse import command, plot, report
    from edge_app.config.reuse import ReuseConfig

    if arguments.plot is not None:
        figures.check_available()
    reports = command.bench(
        command.Plan(
            arguments.clips,
            _model(arguments),
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


def _outbox(arguments: argparse.Namespace) -> int:
    from edge_app.bench import fleet, outbox

    if arguments.cameras:
        measured = fleet.bench(arguments.cameras, arguments.seconds)
        print(fleet.as_json(measured) if arguments.json else fleet.as_table(measured))
        return 0
    report = outbox.bench(outbox.Plan(arguments.seconds, arguments.messages, arguments.rounds))
    print(outbox.as_json(report) if arguments.json else outbox.as_table(report))
    return 0


def _cameras(arguments: argparse.Namespace) -> int:
    from edge_app.bench import cameras

    clip = arguments.clip or demo.file(demo.CLIP)
    model = arguments.model or demo.file(demo.MODEL)
    plan = cameras.Plan(clip, model, arguments.threads, arguments.seconds)
    report = cameras.bench(plan, arguments.rounds, arguments.counts)
    print(cameras.as_json(report) if arguments.json else cameras.as_table(report))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from edge_app.bench import compare

    report = compare.bench(compare.Plan(arguments.old, arguments.new, arguments.benchmark, arguments.pairs))
    print(compare.as_json(report) if arguments.json else compare.as_table(report))
    return 0
