"""The exceptions of the runtime, and the exit code that each one means to the command line.

    Exception
    ├── EndOfClip            a recorded clip has no more frames: normal, never an error
    └── EdgeError            one clear line: where, what was found, what was expected
        ├── ConfigError      2  config.yaml or the command line
        │   └── OptionError  2  one option of a plug-in; whoever reads the file adds the line
        ├── ModelError       2  a model folder: model.yaml, a graph, a hash, a tensor
        ├── SourceError      3  a camera or stream that cannot be opened or read
        │   └── ClipError    2  a file given as the source: missing, empty, not a video
        ├── BackendError     3  the inference engine or the NPU refused
        ├── SinkError        2  results could not be delivered
        └── UpdateError      2  a release could not be installed

Exit codes: 0 done, 1 a bug (the only one with a traceback), 2 the user can fix it, 3 the device cannot.
"""

from __future__ import annotations

from typing import ClassVar


class EndOfClip(Exception):
    """Raised by `Source.read` behind the last frame of a recorded clip."""


class EdgeError(Exception):
    """Base of everything that is reported in one line instead of a traceback."""

    exit_code: ClassVar[int] = 2


class ConfigError(EdgeError):
    """The configuration is wrong; carries every mistake that was found, a line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class OptionError(ConfigError):
    """An option of a plug-in is of the right type and still cannot be used.

    option: its name. problem: what was found and what was expected. Raised by constructors, which do not know the line.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


class ModelError(EdgeError):
    """A model folder, its manifest or one of its graphs cannot be used."""


class SourceError(EdgeError):
    """A camera or stream cannot be opened or read."""

    exit_code = 3


class ClipError(SourceError):
    """A recorded file cannot be used as a source; nothing but another file will mend it."""

    exit_code = 2


class BackendError(EdgeError):
    """The inference engine refused a graph or failed to run it."""

    exit_code = 3


class SinkError(EdgeError):
    """Results could not be delivered.

    retry: whether the same batch may be sent again later.
    after_s: seconds to wait before that, where the other side asked for it.
    """

    def __init__(self, message: str, *, retry: bool, after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.after_s = after_s


class UpdateError(EdgeError):
    """A release could not be verified, installed or taken back."""
