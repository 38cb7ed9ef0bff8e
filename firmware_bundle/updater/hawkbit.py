#!/usr/bin/env python3
"""Pull updates from Eclipse hawkBit by its Direct Device Integration API: one poll, started by edge-app-update.timer.

    ROOT/hawkbit.json             {"url": "https://hawkbit.example", "tenant": "DEFAULT", "controller": "cam-1"}
    ROOT/credentials/hawkbit      the target token of this controller
    ROOT/hawkbit.state.json       the action whose release is on trial

hawkBit says which bundle to install; whether it is installed is decided by its signature, board and version alone
(releases.py), and whether it is kept by its trial. A camera without hawkbit.json does nothing.
Not here: the trial (trial.py); the transport's encryption, which is that of the URL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import bundle
import device
import durable
from bundle import UpdateError
from releases import Slots
from text import one_line

TIMEOUT_S = 30.0
_MAX_JSON = 1 << 20
_MAX_TOKEN = 4096
_SUFFIX = ".bundle"
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PROTOCOLS = ("https", "http")


class ServerError(Exception):
    """The server cannot be reached, or its answer is not as the API is published. One line."""


@dataclass(frozen=True)
class Account:
    """hawkbit.json and the token."""

    url: str
    tenant: str
    controller: str
    token: str

    @property
    def base(self) -> str:
        tenant, controller = (urllib.parse.quote(each, safe="") for each in (self.tenant, self.controller))
        return f"{self.url.rstrip('/')}/{tenant}/controller/v1/{controller}"


class Server:
    """The resources of one controller. Redirects are not followed, and the token goes to the server's origin only."""

    def __init__(self, account: Account) -> None:
        self.base = account.base
        self._origin, self._token = _origin(account.url), account.token
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, url: str) -> dict[str, Any]:
        """A JSON object. Raises ServerError."""
        with self._open(url) as answer:
            data = answer.read(_MAX_JSON + 1)
        try:
            fields = json.loads(data) if len(data) <= _MAX_JSON else None
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise ServerError(f"{url}: found no JSON object of at most {_MAX_JSON} bytes; expected one")
        return fields

    def send(self, url: str, fields: Mapping[str, object], method: str = "POST") -> None:
        """Raises ServerError."""
        with self._open(url, json.dumps(fields).encode(), method):
            pass

    def download(self, url: str, path: Path, size: int, sha256: str | None) -> None:
        """Write a new file of exactly `size` bytes. Raises ServerError, and OSError if the disk is full."""
        digest, left = hashlib.sha256(), size

        def pieces() -> Any:
            nonlocal left
            while piece := answer.read(min(bundle.CHUNK, left + 1)):
                left -= len(piece)
                if left < 0:
                    break
                digest.update(piece)
                yield piece

        with self._open(url) as answer:
            durable.write_new(path, pieces(), 0o600)
        if left or (sha256 is not None and digest.hexdigest() != sha256):
            raise ServerError(f"{url}: the file differs in size or sha256 from what the server announced")

    def _open(self, url: str, data: bytes | None = None, method: str = "GET") -> Any:
        origin = _origin(url)
        if origin[0] != self._origin[0]:
            raise ServerError(
                f"found a link by {origin[0] or 'no protocol'}; expected {self._origin[0]}, as the server's"
            )
        headers = {"Accept": "application/json" if not url.endswith(_SUFFIX) else "*/*"}
        if origin == self._origin:
            headers["Authorization"] = f"TargetToken {self._token}"
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            return self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as exc:
            exc.close()
            raise ServerError(f"{method} {url}: found status {exc.code}") from None
        except (OSError, HTTPException, ValueError) as exc:
            raise ServerError(f"{method} {url}: {getattr(exc, 'reason', None) or exc}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def poll(root: Path, slots: Slots, server: Server) -> tuple[str, bool]:
    """One exchange with the server. Returns a line for the log, and whether the daemon must be restarted.

    Raises ServerError, UpdateError or OSError; the next poll starts again.
    """
    pending = _pending(root)
    if pending is not None:
        line = _report(slots, server, *pending)
        if line is None:
            return f"action {pending[0]}: {pending[1]} is on trial", False
        durable.discard(root / "hawkbit.state.json")
        return line, False
    links = _links(server.get(server.base))
    if "configData" in links:
        data = {"board": device.read(root).board, "release": slots.state().good or ""}
        server.send(links["configData"], {"mode": "merge", "data": data}, "PUT")
    if "cancelAction" in links:  # nothing has begun
        action = _text(_object(server.get(links["cancelAction"]), "cancelAction"), "stopId")
        _feedback(server, f"cancelAction/{action}", "closed", "success", "canceled before it began")
        return f"action {action}: canceled", False
    if "deploymentBase" in links:
        return _deploy(root, slots, server, server.get(links["deploymentBase"]))
    return "nothing to do", False


def _deploy(root: Path, slots: Slots, server: Server, fields: dict[str, Any]) -> tuple[str, bool]:
    action, deployment = _text(fields, "id"), _object(fields, "deployment")
    if deployment.get("update") == "skip" or deployment.get("maintenanceWindow") == "unavailable":
        return f"action {action}: not to be installed yet", False
    incoming = root / f"incoming{durable.UNFINISHED}"
    durable.discard(incoming)
    try:
        url, size, sha256 = _artifact(deployment, device.read(root).board)
        _check_room(root, size)
        server.download(url, incoming, size, sha256)
        with durable.open_file(incoming, bundle.MAX_BUNDLE) as file:
            release = bundle.open_signed(file, sorted((root / "keys").glob("*.pem"))).manifest.release
        state = slots.state()
        if state.good == release and state.trial is None:
            _feedback(server, f"deploymentBase/{action}", "closed", "success", f"{release} runs already")
            return f"action {action}: {release} runs already", False
        slots.install(incoming)
    except UpdateError as exc:
        _feedback(server, f"deploymentBase/{action}", "closed", "failure", str(exc))
        return f"action {action}: rejected: {exc}", False
    finally:
        durable.discard(incoming)
    durable.replace(root / "hawkbit.state.json", json.dumps({"action": action, "release": release}).encode())
    try:
        _feedback(server, f"deploymentBase/{action}", "proceeding", "none", f"{release} is on trial")
    except ServerError as exc:  # the verdict will be reported
        print(one_line(str(exc)), file=sys.stderr)
    return f"action {action}: {release} is on trial", True


def _report(slots: Slots, server: Server, action: str, release: str) -> str | None:
    """Report the verdict on a release; None while there is none."""
    state = slots.state()
    if state.failed and state.failed.release == release:
        reason = state.failed.reason
        _feedback(server, f"deploymentBase/{action}", "closed", "failure", f"rolled back: {reason}")
        return f"action {action}: {release} was rolled back: {reason}"
    if state.trial and state.trial.release == release:
        return None
    if state.good == release:
        _feedback(server, f"deploymentBase/{action}", "closed", "success", f"{release} is kept")
        return f"action {action}: {release} is kept"
    _feedback(server, f"deploymentBase/{action}", "closed", "failure", f"replaced by {state.chosen}")
    return f"action {action}: {release} was replaced by {state.chosen}"


def _feedback(server: Server, action: str, execution: str, finished: str, detail: str) -> None:
    """action: below the controller's resource, with its id last."""
    status = {"execution": execution, "result": {"finished": finished}, "details": [one_line(detail, 500)]}
    server.send(f"{server.base}/{urllib.parse.quote(action)}/feedback", {"status": status})


def _artifact(deployment: dict[str, Any], board: str) -> tuple[str, int, str | None]:
    """URL, size and sha256 of the only *.bundle, or of several of the one named BOARD.bundle."""
    chunks = deployment.get("chunks")
    found = [
        artifact
        for chunk in (chunks if isinstance(chunks, list) else [])
        for artifact in (chunk.get("artifacts") if isinstance(chunk, dict) else None) or []
        if isinstance(artifact, dict) and str(artifact.get("filename")).endswith(_SUFFIX)
    ]
    named = [artifact for artifact in found if artifact["filename"] == f"{board}{_SUFFIX}"]
    chosen = named if len(found) > 1 else found
    if len(chosen) != 1:
        raise UpdateError(f"found {len(found)} bundles in the deployment; expected one, or one named {board}{_SUFFIX}")
    size, links, hashes = chosen[0].get("size"), _links(chosen[0]), chosen[0].get("hashes")
    url = links.get("download") or links.get("download-http")
    if url is None or type(size) is not int or not 0 < size <= bundle.MAX_BUNDLE:
        raise UpdateError(f"found a bundle of {size!r:.20} bytes; expected a link and up to {bundle.MAX_BUNDLE}")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    return url, size, sha256 if isinstance(sha256, str) else None


def _check_room(root: Path, size: int) -> None:
    free = os.statvfs(root)
    if size > free.f_bavail * free.f_frsize:
        raise UpdateError(
            f"needs {size:,} bytes to download it; found {free.f_bavail * free.f_frsize:,} free in {root}"
        )


def _links(fields: Mapping[str, Any]) -> dict[str, str]:
    links = fields.get("_links")
    found = links.items() if isinstance(links, dict) else ()
    return {n: each["href"] for n, each in found if isinstance(each, dict) and isinstance(each.get("href"), str)}


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(fields.get(name), dict):
        raise ServerError(f"{name}: found {type(fields.get(name)).__name__}; expected an object")
    found: dict[str, Any] = fields[name]
    return found


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ServerError(f"{name}: found {value!r:.40}; expected the id of an action")
    return value


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc


def _pending(root: Path) -> tuple[str, str] | None:
    """The action and release that wait for a verdict. A damaged file counts as none: the server offers it again."""
    try:
        fields = json.loads(durable.read_file(root / "hawkbit.state.json", 1 << 16))
        return _text(fields, "action"), _text(fields, "release")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, ServerError):
        return None


def read_account(root: Path) -> Account | None:
    """hawkbit.json with the token; None without the file. Raises UpdateError."""
    path, secret = root / "hawkbit.json", root / "credentials/hawkbit"
    try:
        fields = json.loads(durable.read_file(path, 1 << 16))
        url, tenant, controller = fields["url"], fields.get("tenant", "DEFAULT"), fields["controller"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise UpdateError(f"{path}: cannot be read: {exc}; expected url and controller") from None
    if (
        not all(isinstance(each, str) and each for each in (url, tenant, controller))
        or _origin(url)[0] not in _PROTOCOLS
    ):
        raise UpdateError(f"{path}: expected url (https://…), tenant and controller as text")
    try:
        token = durable.read_file(secret, _MAX_TOKEN).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise UpdateError(f"{secret}: cannot be read: {exc}; expected the target token") from None
    if not token.isprintable() or not token:
        raise UpdateError(f"{secret}: expected the target token in one line")
    return Account(url, tenant, controller, token)


def main(argv: list[str] | None = None) -> int:
    """Poll once. Exit codes: 0 done, 2 the configuration is wrong, 3 the server cannot be used now; one line each."""
    parser = argparse.ArgumentParser(prog="hawkbit.py", description="Poll Eclipse hawkBit once for an update.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--restart", metavar="COMMAND", help="restarts the daemon, which starts the trial")
    arguments = parser.parse_args(argv)
    os.umask(0o022)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        account = read_account(arguments.root)
        if account is None:
            print("no hawkbit.json: nothing is polled")
            return 0
        line, restart = poll(arguments.root, Slots(arguments.root, boot_id), Server(account))
        print(one_line(line, 1000))
    except (UpdateError, OSError) as exc:
        print(one_line(str(exc), 1000), file=sys.stderr)
        return 2
    except ServerError as exc:
        print(one_line(str(exc), 1000), file=sys.stderr)
        return 3
    if restart and arguments.restart:
        subprocess.run(arguments.restart.split(), check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
