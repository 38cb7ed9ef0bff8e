"""Run `edge-app compile` from its parsed arguments. Not here: the parser (edge_app/cli), the passes (build.py)."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

from edge_app.compiler import build, given_ranges, pnnx, report, rknn, second_stage
from edge_app.compiler.compilation import Plan
from edge_app.compiler.families import Triple
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.report import Report
from edge_app.compiler.second_stage import SecondStage
from edge_app.errors import ConfigError
from edge_app.model.manifest import LABEL_SETS
from edge_app.options.files import MAX_TEXT, read_regular

_CUTS = (4, 8, 16)
_HEAD_OPTIONS = ("version", "activation")
_STEPS, _INT8_STEPS, _NPU_STEPS = 8, 4, 5  # estimates for the progress bar; an NPU has its steps once a shape


def run(arguments: argparse.Namespace) -> int:
    """Set up the converter, or compile and print the report."""
    converters = ((rknn.set_up, arguments.setup_rknn), (pnnx.set_up, arguments.setup_pnnx))
    for set_up, folder in converters:
        if folder is not None:
            set_up(folder, lambda text: print(text, file=sys.stderr))
    if any(folder is not None for _, folder in converters) and not arguments.models:
        return 0
    if arguments.into is not None:
        return _add(arguments)
    for option in ("crops_of", "align", "name"):
        if getattr(arguments, option) is not None:
            raise ConfigError(f"--{option.replace('_', '-')}: found it without --into; expected --into FOLDER")
    finished = _compiled(_plan(arguments))
    print(report.as_json(finished) if arguments.json else report.as_table(finished))
    return 0


def _add(arguments: argparse.Namespace) -> int:
    """Compile the second stage on its own, and add it to the folder."""
    if arguments.out is not None or arguments.crops_of is None or len(arguments.models) != 1:
        raise ConfigError("--into: expected one model, --crops-of HEAD, and no --out")
    stage = SecondStage(arguments.into, arguments.crops_of, arguments.align or "box", arguments.name)
    targets = {*build.parse_targets(arguments.target), *(["int8"] if arguments.calibrate else [])}
    backup = second_stage.check(stage, targets, force=arguments.force)
    with tempfile.TemporaryDirectory(prefix="edge-app-") as folder:
        arguments.out, arguments.cut = Path(folder) / "model", "none"
        finished = _compiled(_plan(arguments))
        if len(finished.heads) != 1:
            raise ConfigError(f"--into: found {len(finished.heads)} heads; expected a model with one")
        name = second_stage.attach(arguments.out, stage, backup)
    finished.out = str(arguments.into)
    print(report.as_json(finished) if arguments.json else report.as_table(finished))
    if not arguments.json:
        print(f"added             head {name}, on crops of {stage.of} ({stage.align})")
    return 0


def _compiled(plan: Plan) -> Report:
    """Compile with a progress bar."""
    from tqdm import tqdm

    steps = _STEPS + _INT8_STEPS * bool(plan.calibrate) + _NPU_STEPS * (len(plan.targets) - 1) * (1 + len(plan.shapes))
    form = "{desc:<28} {bar:20} {elapsed}"
    with tqdm(total=steps, desc="compile", bar_format=form, file=sys.stderr, disable=None) as bar:

        def progress(step: str) -> None:
            if bar.disable:  # not a terminal: one line a step
                print(step, file=sys.stderr, flush=True)
            bar.set_description_str(step, refresh=False)
            bar.update()

        finished = build.build(plan, progress)
        bar.total = bar.n
        bar.set_description_str("done")
    return finished


def _plan(arguments: argparse.Namespace) -> Plan:
    if not arguments.models:
        raise ConfigError("edge-app compile: found no model; expected ONNX files, or a model folder")
    if arguments.out is None:
        raise ConfigError("edge-app compile: --out is missing; expected the folder to write")
    options = ModelOptions(
        arguments.family,
        _labels(arguments.labels),
        _triple("--mean", arguments.mean),
        _triple("--std", arguments.std),
        arguments.color,
        arguments.resize,
        _size(arguments.input),
        {name: value for name in _HEAD_OPTIONS if (value := getattr(arguments, name)) is not None},
        _fraction(arguments),
    )
    return Plan(
        tuple(arguments.models),
        arguments.out,
        options,
        build.parse_targets(arguments.target),
        tuple(arguments.calibrate),
        _strides(arguments.cut),
        arguments.rknn or arguments.setup_rknn,
        _sizes(arguments.npu_shapes),
        force=arguments.force,
        pnnx=arguments.pnnx or arguments.setup_pnnx,
        npu_precision=arguments.precision,
        ranges=_ranges(arguments),
    )


def _ranges(arguments: argparse.Namespace) -> Path | None:
    """The value of --ranges, of a readable file."""
    path: Path | None = arguments.ranges
    if path is not None:
        if not arguments.calibrate:
            raise ConfigError("--ranges: found without --calibrate; expected both: not every tensor has a given range")
        given_ranges.read(path)
    return path


def _fraction(arguments: argparse.Namespace) -> float | None:
    """The value of --crop-fraction."""
    if arguments.crop_fraction is None:
        return None
    if arguments.resize not in (None, "crop"):
        raise ConfigError(f"--crop-fraction: found with --resize {arguments.resize}; expected --resize crop")
    try:
        fraction = float(arguments.crop_fraction)
    except ValueError:
        fraction = 0.0
    if not 0.1 <= fraction <= 1:
        found = f"--crop-fraction: found '{arguments.crop_fraction}'"
        raise ConfigError(f"{found}; expected a number 0.1 to 1, such as 0.875")
    return fraction


def _size(text: str | None, option: str = "--input") -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"{option}: found '{text}'; expected WxH, such as 640x480")
    return int(width), int(height)


def _sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    """Sorted by area, without duplicates."""
    sizes = {
        _size(size_text.strip(), "--npu-shapes") or (0, 0) for size_text in (text or "").split(",") if text is not None
    }
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))


def _triple(option: str, text: str | None) -> Triple | None:
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (option == "--std" and 0 in numbers):
        raise ConfigError(
            f"{option}: found '{text}'; expected one number, or three in the model's color order, such as 1,2,3"
        )
    return numbers[0], numbers[1], numbers[2]


def _labels(text: str | None) -> tuple[str, ...] | str:
    if text is None:
        return ()
    if text in LABEL_SETS:
        return text
    try:
        lines = read_regular(Path(text), MAX_TEXT).decode().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--labels {text}: cannot be read as text; expected a file with one label per line") from exc
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise ConfigError(f"--labels {text}: is empty; expected one label per line")
    return labels


def _strides(text: str | None) -> tuple[int, ...]:
    if text is None:
        return _CUTS
    if text == "none":
        return ()
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 1 for part in parts):
        raise ConfigError(f"--cut: found '{text}'; expected strides, such as 4,8,16, or none")
    return tuple(sorted({int(part) for part in parts}))
