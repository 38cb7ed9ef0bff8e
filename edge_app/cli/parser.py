"""The parser of `edge-app` and its exit codes (errors.py). Not here: the arguments of a command (commands/).

Nothing heavy is imported before a command is chosen, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from edge_app import __version__
from edge_app.cli.arguments import HOST_ONLY
from edge_app.cli.commands import (
    bench,
    check,
    compile,  # noqa: A004
    config,
    doctor,
    gallery,
    init,
    options,
    outbox,
    replay,
    run,
    schema,
    slim,
    status,
    totals,
    tune,
)
from edge_app.errors import ConfigError, EdgeError

_MIN_ADDRESS_SPACE_MB = 1024  # loading OpenCV and onnxruntime with less ends in a segmentation fault
_COMMANDS = (
    init,
    run,
    replay,
    check,
    options,
    config,
    outbox,
    status,
    totals,
    gallery,
    doctor,
    compile,
    tune,
    slim,
    bench,
    schema,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An EdgeError is printed as one line on stderr, without a traceback."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions: eval "$(register-python-argcomplete edge-app)"
        _complete(parser)
    arguments = parser.parse_args(argv)
    try:
        _check_address_space()
        code: int = arguments.command(arguments)
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except ModuleNotFoundError as exc:
        if exc.name not in HOST_ONLY:
            raise
        print(f"{exc.name}: not in this installation; expected the full package, on a host computer", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `edge-app replay CLIP | head`: the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter fails to flush at exit
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _check_address_space() -> None:
    """Raises ConfigError if `ulimit -v` leaves too little for the libraries. 32-bit systems need less, and pass."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if sys.maxsize > 2**32 and limit != resource.RLIM_INFINITY and limit < _MIN_ADDRESS_SPACE_MB << 20:
        raise ConfigError(
            f"address space: found a limit of {limit >> 20} MB (ulimit -v, LimitAS=); "
            f"expected none or {_MIN_ADDRESS_SPACE_MB} MB; limit the memory with MemoryMax="
        )


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command, option or choice as one line that names the nearest right one. Exits with 2."""

    def error(self, message: str) -> NoReturn:
        more = "" if message.endswith("?") else "; see --help"
        self.exit(2, f"{self.prog}: {message}{more}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            is_option = unknown[0].startswith("-")
            near = _nearest(unknown[0].partition("=")[0], self._option_string_actions) if is_option else ""
            self.error(f"found {unknown[0]!r}{near or '; expected no such argument'}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"found {value!r}{_nearest(str(value), map(str, action.choices))}")


def _nearest(word: str, known: Iterable[str]) -> str:
    from edge_app.options.document import nearest

    return nearest(word, known)


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, and exit. Without the library, there are no completions."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="edge-app",
        description="On-device vision runtime: camera frames in, structured results out.",
        epilog="Exit codes: 0 success; 1 a bug in edge-app; 2 an error that you can fix, explained in one line;"
        " 3 a device failure. `edge-app COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action="version", version=f"edge-app {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser
