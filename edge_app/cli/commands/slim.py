"""edge-app slim: estimate, train and shrink networks for the NPUs. Host only."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_app.cli.arguments import HOST_ONLY, Commands, add_json, positive
from edge_app.errors import ConfigError


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "slim",
        help="host only: estimate, train and shrink networks for the NPUs",
        description="Estimate the cycles of a network on an NPU, and train networks for it.",
    )
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    _add_cost(tasks)
    _add_train(tasks)
    _add_shrink(tasks)
    _add_search(tasks)
    _add_serve(tasks)


def _add_search(tasks: Commands[argparse.ArgumentParser]) -> None:
    parser = tasks.add_parser(
        "search",
        help="find networks with few cycles and a low loss; several workers share the trials",
        description="Work on a search. Start the same command again for another worker, or to resume.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="as of `slim train`")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="what may vary")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="journal, checkpoints and report")
    parser.add_argument("--storage", metavar="URL", help="grpc://HOST:PORT of `slim serve` (default: a journal in DIR)")
    add_json(parser)
    parser.set_defaults(command=_search)


def _add_serve(tasks: Commands[argparse.ArgumentParser]) -> None:
    parser = tasks.add_parser(
        "serve",
        help="serve the trials of a search to workers on other machines",
        description="Serve a journal or a database by gRPC, without a login, until interrupted.",
    )
    parser.add_argument("storage", metavar="FILE|URL", help="a journal, or a database such as postgresql://…")
    parser.add_argument("--listen", default="127.0.0.1:13000", metavar="HOST:PORT", help="default: 127.0.0.1:13000")
    parser.set_defaults(command=_serve)


def _add_shrink(tasks: Commands[argparse.ArgumentParser]) -> None:
    parser = tasks.add_parser(
        "shrink",
        help="make a trained network smaller, step by step, each compared with its controls",
        description="Run the steps of a recipe on a model folder, a run of `slim train`, or an ONNX file."
        " Run again to resume.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model folder, a run of `slim train`, an ONNX file")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="the steps and their options")
    parser.add_argument(
        "--task", type=Path, required=True, metavar="DATA|PYTHON", help="labeled data, or a file with `open_task`"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="stages, report and model folder")
    parser.add_argument("--restart", action="store_true", help="drop the stages in DIR that are of another recipe")
    add_json(parser)
    parser.set_defaults(command=_shrink)


def _add_train(tasks: Commands[argparse.ArgumentParser]) -> None:
    parser = tasks.add_parser(
        "train",
        help="train one backbone with heads, by a recipe",
        description="Train a network and write a model folder that `edge-app compile` takes. Run again to resume.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="YOLO's data.yaml, a COCO folder, a folder per class …")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="backbone, heads and schedule")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint, report and model folder")
    parser.add_argument("--restart", action="store_true", help="drop the checkpoint of an earlier run in DIR")
    add_json(parser)
    parser.set_defaults(command=_train)


def _add_cost(tasks: Commands[argparse.ArgumentParser]) -> None:
    parser = tasks.add_parser(
        "cost",
        help="cycles of each layer, and the widths that save most",
        description="Estimate the cycles of each layer by the formula of the RKNN converter.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file or a model folder")
    parser.add_argument("--target", default="rv1106,rk3588", metavar="LIST", help="NPUs (default: rv1106,rk3588)")
    parser.add_argument("--input", metavar="WxH", help="size of an input whose size is free")
    parser.add_argument("--top", type=positive, default=10, metavar="N", help="rows of each table (default: 10)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="plot the cycles of all layers")
    add_json(parser)
    parser.set_defaults(command=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    with _extra():
        from edge_app.slim import cost, cost_plot
    targets = list(dict.fromkeys(name.strip() for name in arguments.target.split(",")))
    found = cost.report(arguments.model, targets, _size(arguments.input))
    print(cost.as_json(found) if arguments.json else cost.as_table(found, arguments.top))
    if arguments.plot is not None:
        cost_plot.plot(found, arguments.plot)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    with _extra():
        from edge_app.slim import train_command
    plan = train_command.Plan(arguments.data, arguments.recipe, arguments.out, arguments.restart)
    report = train_command.train(plan)
    print(json.dumps(report) if arguments.json else train_command.as_table(report, arguments.out))
    return 0


def _shrink(arguments: argparse.Namespace) -> int:
    with _extra():
        from edge_app.slim.shrink import command
    plan = command.Plan(arguments.model, arguments.recipe, arguments.task, arguments.out, arguments.restart)
    report = command.shrink(plan)
    print(json.dumps(report) if arguments.json else command.as_table(report, arguments.out))
    return 0


def _search(arguments: argparse.Namespace) -> int:
    with _extra():
        import optuna  # noqa: F401  (the command imports it when it needs it)

        from edge_app.slim.search import command
    plan = command.Plan(arguments.data, arguments.recipe, arguments.out, arguments.storage)
    report = command.search(plan)
    print(json.dumps(report) if arguments.json else command.as_table(report, arguments.out))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    with _extra():
        import grpc  # noqa: F401  (as above)

        from edge_app.slim.search import serve
    host, _, port = arguments.listen.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--listen: found '{arguments.listen}'; expected HOST:PORT")
    serve.serve(arguments.storage, host, int(port))
    return 0


@contextmanager
def _extra() -> Iterator[None]:
    """Import libraries of the extra. Raises ConfigError for one that is not installed; ImportError on a camera."""
    try:
        yield
    except ImportError as exc:
        if exc.name in HOST_ONLY:  # a package that a camera lacks
            raise
        from edge_app.options.extras import install

        raise ConfigError(f"slim needs the library {exc.name}; expected: {install('slim')}") from exc


def _size(text: str | None) -> tuple[int, int] | None:
    """Width and height. Raises ConfigError if it is not WxH."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"--input: found '{text}'; expected WxH, such as 640x480")
    return int(width), int(height)
