"""Arguments that several commands share: the configuration, the model folder, positive integers."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.errors import ConfigError

if TYPE_CHECKING:
    from edge_app.config import Config

# Packages that a camera's release leaves out.
HOST_ONLY = (
    "edge_app.bench",
    "edge_app.compiler",
    "edge_app.evaluation",
    "edge_app.slim",
)
DEFAULT_CONFIG = Path("config.yaml")
Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--model`, which `load` reads."""
    add_config_file(parser)
    parser.add_argument("--model", type=Path, metavar="DIR", help="use this model folder instead of the configured one")


def add_config_file(parser: argparse.ArgumentParser, meaning: str = "configuration") -> None:
    """Add `--config` alone, for commands that do not load the model."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"{meaning} (default: {DEFAULT_CONFIG})",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add `--source`."""
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        help="use this source instead of the configured one: a video, a folder of images, rtsp://…, http://…,"
        " /dev/videoN, N or synthetic",
    )


def add_precision(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add `--precision`."""
    parser.add_argument(
        "--precision",
        choices=("float", "int8", "auto"),
        default=default,
        help="which graphs onnxruntime runs; auto: the faster ones, measured on this machine"
        f" (default: {default or 'as configured'})",
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def positive(text: str) -> int:
    """Parse an integer of at least 1; for argparse's `type`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}'; expected a whole number from 1 on")
    return int(text)


def config_file(path: Path) -> Path:
    """The path of a configuration. Raises ConfigError if it is the default one and not there."""
    if path == DEFAULT_CONFIG and not path.exists():
        raise ConfigError(
            f"{path}: found none in this folder; expected it here, --config FILE, or `edge-app init` to write one"
        )
    return path


def add_camera(parser: argparse.ArgumentParser) -> None:
    """Add `--camera`."""
    parser.add_argument("--camera", metavar="NAME", help="of a configuration with several cameras, use this one")


def load(
    arguments: argparse.Namespace, source: str | None = None, *, demo: bool = False, use_unfit: bool = False
) -> Config:
    """Load the configuration that the arguments name. source: replaces the configured one. Raises ConfigError.

    demo: without --config, and in a folder without a config.yaml, use that of the demo; one line on stderr says so.
    use_unfit: as in `config.load`.
    """
    from edge_app import config
    from edge_app.cli import demo as demos

    if demo and arguments.config == DEFAULT_CONFIG and not DEFAULT_CONFIG.exists():
        loaded = demos.load(source, arguments.model)
        print("config.yaml: none in this folder; using the demo's (`edge-app init` writes it)", file=sys.stderr)
    else:
        path, model, camera = config_file(arguments.config), arguments.model, getattr(arguments, "camera", None)
        loaded = config.load(path, source=source, model=model, use_unfit=use_unfit, camera=camera)
    precision = getattr(arguments, "precision", None)
    return loaded if precision is None else loaded.replaced(model=replace(loaded.model, precision=precision))
