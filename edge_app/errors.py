"""The exceptions of the runtime, and the exit code of the command line for each.

    Exception
    ├── EndOfClip            a recorded clip has no more frames; not an error
    └── EdgeError            reported as one line: where, what was found, what was expected
        ├── ConfigError      2  config.yaml or the command line
        │   └── OptionError  2  one option of a plug-in; config/ adds the line number
        ├── ModelError       2  a model folder: model.yaml, a graph, a hash, a tensor
        ├── SourceError      3  a camera or stream that cannot be opened or read
        │   └── ClipError    2  the source file is missing, empty or not a video
        ├── BackendError     3  the inference engine or the NPU failed
        ├── SinkError        2  results could not be delivered
        └── UpdateError      2  a release could not be installed

Exit codes: 0 success, 1 a bug (the only one with a traceback), 2 an error that the user can fix, 3 a device failure.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import ClassVar

_URL = re.compile(r"://(\S+)")
_PUNCTUATION = ".,:;!?'\"`)]}>"  # after a URL in a sentence
_MAX_SCANNED = 1 << 16


class EndOfClip(Exception):
    """Raised by `Source.read` after the last frame of a recorded clip."""


class EdgeError(Exception):
    """Base of all errors that are reported without a traceback."""

    exit_code: ClassVar[int] = 2


class ConfigError(EdgeError):
    """The configuration is invalid. problems: every mistake that was found, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class OptionError(ConfigError):
    """An option of a plug-in has the right type but an invalid value. Raised by constructors of plug-ins.

    option: its name. problem: what was found and what was expected, without the line number.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


class ModelError(EdgeError):
    """A model folder, its manifest or one of its graphs is unusable."""


class SourceError(EdgeError):
    """A camera or stream cannot be opened or read."""

    exit_code = 3


class ClipError(SourceError):
    """A recorded file is unusable as a source. Retrying does not help."""

    exit_code = 2


class BackendError(EdgeError):
    """The inference engine rejected a graph or failed to run it."""

    exit_code = 3


class SinkError(EdgeError):
    """Results could not be delivered.

    retry: whether to send the same batch again later.
    after_s: seconds to wait before that, if the server asked for it.
    """

    def __init__(self, message: str, *, retry: bool, after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.after_s = after_s


class UpdateError(EdgeError):
    """A release could not be verified, installed or rolled back."""


def foreign_text(value: object, limit: int = 200) -> str:
    """Text for a log, status or message from input of others: a peer, a file, an option, a library's exception.

    Control characters, surrogates and invisible formatting characters become `?`; secrets in URLs are masked; longer
    text is cut at `limit`. Of an exception only its class and, for OSError, the system's reason: its message may quote
    a secret.
    """
    if isinstance(value, OSError) and value.strerror:
        text = value.strerror
    elif isinstance(value, BaseException):
        text = type(value).__name__
    else:
        text = str(value)
    cut = mask_urls(text[:_MAX_SCANNED])[: limit + 1]
    shown = "".join(c if c.isprintable() else " " if c in "\t\n\r" else "?" for c in cut[:limit])
    return f"{shown}…" if len(cut) > limit else shown


def foreign_exception(exc: BaseException) -> str:
    """An exception of a library or plug-in, without its message: `KeyError (plugin.py:31)`."""
    *_, last = [None, *traceback.extract_tb(exc.__traceback__)]
    where = f" ({foreign_text(Path(last.filename).name)}:{last.lineno})" if last else ""
    return f"{foreign_text(exc)}{where}"


def foreign_message(exc: BaseException) -> str:
    """The first line of a library's error message, as `foreign_text`; the class of the exception if it is empty.

    Only for libraries whose messages quote no secrets, such as those that read ONNX files.
    """
    return foreign_text(next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__))


def foreign_last_line(output: str) -> str:
    """The last line that a program has written, as `foreign_text`; `no message` if it has written none."""
    return foreign_text(next((line for line in reversed(output.splitlines()) if line.strip()), "no message"))


def mask_urls(text: str) -> str:
    """Text in which every URL is without secrets: `rtsp://…@cam:554/live?…`.

    Masked are user and password, the query, the fragment, and parts of the path such as `password=x` or `user:x`. A
    host in front of an `@` in the path is masked too: it may be part of a password that is not percent-encoded.
    """
    return _URL.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    url = match[1].rstrip(_PUNCTUATION)
    _, at, address = url.rpartition("@")
    path, mark, _ = re.split(r"([?#])", address, maxsplit=1) if re.search(r"[?#]", address) else (address, "", "")
    host, *parts = path.split("/")
    masked = "/".join([host, *map(_masked_part, parts)])
    return f"://{'…@' if at else ''}{masked}{mark}{'…' if mark else ''}{match[1][len(url) :]}"


def _masked_part(part: str) -> str:
    if "=" in part:
        return f"{part.partition('=')[0]}=…"
    return "…" if ":" in part else part
