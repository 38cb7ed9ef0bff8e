"""References to secrets in config.yaml: `credential:NAME`, `file:PATH` or `env:NAME`. The secret itself is rejected.

`credential:NAME` is a file in $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential=.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from edge_app.errors import ConfigError
from edge_app.options.files import read_regular
from edge_app.options.scalars import checked_text

EXPECTED = "credential:NAME, file:PATH or env:NAME"
_MAX_BYTES = 64 * 1024
_FOLDER = "edge-app_"  # file name prefix if the credential is a folder: LoadCredential=edge-app:FOLDER


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret. The secret is read on use; no field, repr or message contains it."""

    kind: Literal["credential", "file", "env"]
    name: str

    @classmethod
    def parse(cls, text: str, folder: Path) -> Secret:
        """Parse a reference; a file path is relative to `folder`. Raises ValueError, whose message omits `text`."""
        kind, colon, name = text.partition(":")
        if not colon or not name or "\0" in name or kind not in ("credential", "file", "env"):
            raise ValueError(f"expected {EXPECTED}")
        if kind == "credential" and "/" in name:
            raise ValueError("expected the plain name of a credential")
        return cls(cast(Literal["credential", "file", "env"], kind), str(folder / name) if kind == "file" else name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def read(self) -> str:
        """The secret, without white space around it.

        Raises ConfigError if it does not exist, or is not printable text on one line.
        """
        try:
            return checked_text(self._read().strip())
        except OSError as exc:
            raise ConfigError(f"{self}: cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError:
            raise ConfigError(f"{self}: found bytes that are not UTF-8 text") from None
        except ValueError as exc:
            raise ConfigError(f"{self}: {exc}") from None

    def _read(self) -> str:
        if self.kind == "env":
            if self.name not in os.environ:
                raise ConfigError(f"{self}: the environment has no such variable")
            return os.environ[self.name]
        return read_regular(self._path(), _MAX_BYTES).decode()

    def _path(self) -> Path:
        if self.kind == "file":
            return Path(self.name)
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise ConfigError(f"{self}: $CREDENTIALS_DIRECTORY is not set; expected a service with LoadCredential=")
        own = Path(folder) / f"{_FOLDER}{self.name}"
        return own if own.exists() else Path(folder) / self.name
