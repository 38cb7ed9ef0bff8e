"""What several commands take: a configuration, a model folder, whole numbers. Used by cli.py and host_cli.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_app.config import Config

HOST_ONLY = (
    "edge_app.bench",
    "edge_app.compiler",
    "edge_app.evaluation",
    "edge_app.slim",
)  # what a camera's release leaves out
DEFAULT_CONFIG = Path("config.yaml")
DEFAULT_MODEL = Path("models/digits")
DEFAULT_CLIP = DEFAULT_MODEL / "sample.mp4"
Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--model`, for `load`."""
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: ./config.yaml"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model folder instead of the config's")


def positive(text: str) -> int:
    """A whole number from 1 on, as argparse's `type`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found '{text}'; expected a whole number from 1 on")
    return int(text)


def load(arguments: argparse.Namespace, source: str | None = None) -> Config:
    """The configuration that the arguments name. source: instead of its own. Raises ConfigError."""
    from edge_app import config
    from edge_app.errors import ConfigError

    if arguments.config == DEFAULT_CONFIG and not DEFAULT_CONFIG.exists():
        raise ConfigError(f"{DEFAULT_CONFIG}: found none in this folder; expected it here, or --config FILE")
    return config.load(arguments.config, source=source, model=arguments.model)
