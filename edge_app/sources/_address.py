"""The address of a network camera: variables in it, its login, and its text for messages.

Credentials do not belong in config.yaml: `${NAME}` in the url is replaced with an environment variable, `password` is
a reference to a secret, or `credentials` names a file that contains `user:password`. No message shows them.
Not here: the syntax of addresses (options/url.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from edge_app.errors import ConfigError, OptionError, mask_urls
from edge_app.options import Secret, Url
from edge_app.options.files import MAX_TEXT, read_regular
from edge_app.options.scalars import checked_text

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve(url: str, syntax: Url) -> str:
    """Replace each ${NAME} and check the address. Raises OptionError, whose message shows no value."""
    resolved = _REFERENCE.sub(_value, url)
    try:
        return syntax.parse(resolved).geturl()
    except ValueError as exc:
        raise OptionError("url", str(exc)) from None


def shown(url: str) -> str:
    """The address for messages, without secrets. url: as configured, with its ${NAME}."""
    return mask_urls(_REFERENCE.sub(_masked_reference, url))


def with_login(url: str, username: str | None, password: Secret | None, credentials: Path | None) -> str:
    """The address with the login of the options, which replaces its own. Raises ConfigError.

    credentials: a file that contains `user:password`, instead of the two.
    """
    if credentials is None:
        return _with_login(url, username, None if password is None else password.read())
    if username is not None or password is not None:
        raise OptionError("credentials", "found it together with username or password; expected one of the two")
    return _with_login(url, *_read_credentials(credentials))


def _value(match: re.Match[str]) -> str:
    """The value of ${NAME}. In the login part it is a user or password: its `@`, `:` and `/` are escaped."""
    name = match[1]
    if name not in os.environ:
        raise OptionError("url", f"found ${{{name}}}; expected an environment variable of that name")
    try:
        value = checked_text(os.environ[name])
    except ValueError as exc:
        raise OptionError("url", f"in the value of ${{{name}}}: {exc}") from None
    in_login = "@" in match.string[match.end() :] and "://" in match.string[: match.start()]
    return quote(value, safe="") if in_login else value


def _masked_reference(match: re.Match[str]) -> str:
    """The text for ${NAME} in messages: nothing in the path or after it, where it may be a secret."""
    before = match.string[: match.start()].partition("://")[2]
    return "…" if re.search("[/?#]", before) else _value(match)


def _read_credentials(file: Path) -> tuple[str, str]:
    """User and password of a file. Raises ConfigError."""
    try:
        text = checked_text(read_regular(file, MAX_TEXT).decode().strip())
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}; expected a line user:password") from exc
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: found bytes that are not UTF-8; expected a line user:password") from None
    except ValueError as exc:
        raise ConfigError(f"{file}: {exc}, user:password") from None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise ConfigError(f"{file}: found no colon; expected a line user:password")
    return user, password


def _with_login(url: str, username: str | None, password: str | None) -> str:
    """The address with this login. None: as in the address. Raises OptionError if there is a password but no user."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    user, colon, own_password = login.partition(":")
    user = user if username is None else quote(username, safe="")
    if password is not None:
        own_password, colon = quote(password, safe=""), ":"
    if colon and not user:
        raise OptionError("password", "found it without a user; expected username too")
    return parts._replace(netloc=f"{user}{colon}{own_password}@{host}" if user else host).geturl()
