"""Options that are network addresses: `url: Annotated[str, Url("rtsp", "rtsps")]`.

Python's urlsplit and the libraries that connect disagree on malformed addresses, or crash, so these are rejected first.
Not here: masking secrets in messages (errors.mask_urls).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_MAX_LENGTH = 2000  # FFmpeg cuts longer addresses
_MAX_HOST = 253
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_BRACKETED = re.compile(r"\[[^\[\]]*\](:.*)?")
_RESERVED = "/ is %2F, ? is %3F, # is %23, [ is %5B, ] is %5D, @ is %40"
_CREDENTIALS = "password: file:PATH"


class Url:
    """Marks a text option as the address of a peer. schemes: those that are accepted.

    config/ checks the address, and the contract suites of network plug-ins find these by it. `${NAME}` may stand for
    a part of it: then only the constructor, which replaces it, can check the address.
    """

    def __init__(self, *schemes: str) -> None:
        self.schemes = schemes
        self.example = f"{schemes[0]}://host[:port]/path"

    def __str__(self) -> str:
        return f"like {self.example}"

    def parse(self, text: str) -> SplitResult:
        """Split an address whose host and port are valid; a host name is returned in ASCII (IDNA).

        Raises ValueError with what was found and expected, without any part of the text: it may be a password.
        """
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"found an address of {len(text)} characters; expected at most {_MAX_LENGTH}")
        if not text.isprintable() or " " in text:
            raise ValueError(f"found a space or a control character; expected {self.example}")
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() not in self.schemes:
            expected = " or ".join(f"{each}://" for each in self.schemes)
            raise ValueError(f"found no {expected} address; expected {self.example}")
        _check_login(rest)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(_host_problem(rest)) from None
        if port == 0:
            raise ValueError("found the port 0; expected 1 to 65535")
        if not host:
            raise ValueError(f"found no host; expected {self.example}")
        if parts.fragment or text.endswith("#"):
            raise ValueError("found a #; expected it percent-encoded: %23")
        login, at, address = parts.netloc.rpartition("@")
        if "[" in address and not _BRACKETED.fullmatch(address):
            raise ValueError(_host_problem(rest))
        ascii_host = _checked_host(host, bracketed="[" in address)
        end = f":{port}" if port is not None else ""
        return parts._replace(netloc=f"{login}{at}{ascii_host}{end}")


def check_host(text: str) -> None:
    """Check a host on its own: a name, an IPv4 address, or an IPv6 address without brackets. Raises ValueError."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        _checked_host(text, bracketed=False)


def _check_login(rest: str) -> None:
    """Reject a user or password with a character that ends the host part. rest: the text after `://`."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, _ = authority.rpartition("@")
    user, colon, _ = authority.partition(":")
    is_cut = not at and "@" in rest and (colon or "[" in user)
    if is_cut or "[" in login or "]" in login:
        raise ValueError(
            f"found one of / ? # [ ] in the user or password; expected it percent-encoded ({_RESERVED}), "
            f"or the option {_CREDENTIALS}"
        )


def _host_problem(rest: str) -> str:
    """Why urlsplit rejects an address: its brackets or its port."""
    address = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    host, _, port = address.rpartition(":")
    if "[" in address and not _BRACKETED.fullmatch(address):
        return "found unmatched brackets in the host; expected [IPv6 address]"
    if port.isascii() and port.isdigit() and host:
        return "found a port that is out of range; expected 1 to 65535"
    return "found an invalid host or port; expected host, host:PORT or [IPv6 address]:PORT"


def _checked_host(host: str, *, bracketed: bool) -> str:
    """The host in ASCII, as in an address. Raises ValueError."""
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("found an invalid IPv6 address; expected one such as [fe80::1]") from None
        return f"[{host}]"
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name) or len(name) > _MAX_HOST:
        raise ValueError(
            "found an invalid host name; expected labels of 1 to 63 letters, digits or hyphens, with dots between"
        )
    return name
