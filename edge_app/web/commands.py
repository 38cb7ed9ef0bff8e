"""The page's requests that change something: commands, Save and Undo. All need `web.commands: true` and the token.

All bodies are JSON of at most 12 KiB; a session cookie or `Authorization: Bearer TOKEN` is needed, as for
every other request. One save or undo runs at a time. Errors are lines `where: found; expected`, one for each mistake.

`GET /api/config`: what can be edited now, config.yaml with overrides.yaml over it:

    {"version": "<hash>", "commands": true, "stored_in": "config.yaml" or "overrides.yaml", "undo": 2, "unfit": [],
     "camera": "<source.name>", "labels": {"<head>": ["person", …]},
     "rules": {"<rule>": {"type": "zone", "polygon": [[x, y], …], …}}, "rule_types": ["count", "line", …],
     "heads": {"<head>": {"score": 0.4, "labels": [], "ignore": [], …}}, "mask": [[[x, y], …]], "schedule": [],
     "tracked": "<head>" or null,
     "commands_seen": {"heads": {"<head>": true}, "rules": {"<rule>": false}, "scores": {"<head>": 0.4}, "muted_s": 0,
                       "reuse": "auto", "precision": "float", "running": {"heads": {…}, "rules": {…}}}}

  `unfit` has the mistakes of an overrides.yaml that does not fit config.yaml, and which the next change replaces.
  `rules` and `heads` have the options as written in the file (defaults are left out, except the `score` of a head);
  `commands_seen` has what is in effect now, commands included; `running`: not off by schedule or load. Without
  `web.commands` the answer has `"commands": false`, and the page shows no button to save. `undo`: how many changes
  can be undone, also after a restart; 0 after an edit on disk.

`GET /api/options`: which options there are, as JSON schemas: `{"rules": {"<type>": {"properties": {…}, "required":
[…]}}, "heads": {"<head>": …}, "source": …}`. Includes the types of installed plug-ins.

`POST /api/save`: `{"version": "<hash>", "changes": {…}}`. `changes` is a JSON merge patch (RFC 7396) of `rules`,
`heads`, `mask` and `schedule` as above: what is missing stays, `null` removes a rule or an option, a list is replaced
as a whole. A rule of a new name is appended and needs its `type`. Example:

    {"version": "1f…", "changes": {"rules": {"plaza": {"type": "zone", "polygon": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]],
                                             "head": "objects"}, "old": null},
                                   "heads": {"objects": {"score": 0.5, "labels": ["person"], "max_area": null}},
                                   "mask": [[[0, 0], [0.2, 0], [0.2, 0.2]]]}}

  200 `{"version": "<new hash>", "stored_in": "config.yaml", "undo": 3}`: written; the daemon applies it at the next
  frame. 409 `{"error": "…", "version": "<current hash>", "config": {as GET /api/config}}`: the file was edited since
  `version` was read, nothing was written. 422 `{"errors": ["rules.plaza.polygon: found …; expected …", …]}`: nothing
  was written. 507 `{"error": "…"}`: the disk is full or read-only, nothing was written.

`POST /api/undo`: `{"version": "<hash>"}`. Takes back the latest saved change, at most five of them. Answers as
  save; 404 if there is nothing to undo.

`POST /api/set/<what>`: one command. what: `heads/<name>`, `rules/<name>`, `reuse` (ON or OFF), `heads/<name>/score`
(0 to 1), `precision` (float, int8), `mute` (minutes; 0 ends it), `snapshot`, `reload`, `restart` (no value). Body:
empty, plain text, or `{"value": …, "id": "…", "persist": true}`.

  200 `{"id": "…", "command": "rules/plaza", "ok": true, "error": null}`; 400, 404 (no such rule), 409 (cannot be done
  now) with `"ok": false` and `error`. 429: more than 10 in a second. 503: the daemon did not answer in 3 s.

403: `web.commands` is off. 413: the body is over 12 KiB. 415: a body that is not JSON. Not here: executing (commands/).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from edge_app.commands.store import Conflict
from edge_app.errors import ConfigError, foreign_exception
from edge_app.frame import JsonValue

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

MAX_BODY_BYTES = 12 * 1024  # less than a connection may send before a handler runs
_ANSWER_S = 3.0
_OFF = "web.commands is off; expected commands: true in the block web, and a token"


class PageCommands(Protocol):
    """The daemon's side. All methods are for any thread."""

    def view(self) -> Mapping[str, Any]:
        """The answer to GET /api/config, without `commands`. Raises ConfigError if the files are invalid."""
        ...

    def options(self) -> Mapping[str, Any]:
        """The answer to GET /api/options."""
        ...

    def save(self, version: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises Conflict, ConfigError or OSError; nothing is written then."""
        ...

    def undo(self, version: str) -> Mapping[str, Any] | None:
        """As `save`; None if there is nothing to undo."""
        ...

    def submit(self, name: str, payload: bytes, answered: Callable[[Mapping[str, JsonValue], int], None]) -> None:
        """Take a command. answered: called once, on this thread or another."""
        ...


class CommandHandlers:
    """The handlers of these paths. enabled: `web.commands`."""

    def __init__(self, commands: PageCommands | None, *, enabled: bool) -> None:
        self._commands, self._enabled = commands, enabled
        self._one_at_a_time = asyncio.Lock()

    def get(self) -> dict[str, Handler]:
        return {"/api/config": self._config, "/api/options": self._options}

    def post(self) -> dict[str, Handler]:
        save, undo = partial(self._change, self._save), partial(self._change, self._undo)
        return {"/api/save": save, "/api/undo": undo, "/api/set/{name:.+}": self._set}

    async def _config(self, _request: web.Request) -> web.StreamResponse:
        if self._commands is None:
            return _json({"commands": False})
        try:
            view = await asyncio.to_thread(self._commands.view)
        except ConfigError as exc:
            return _json({"errors": list(exc.problems)}, 422)
        return _json({**view, "commands": self._enabled})

    async def _options(self, _request: web.Request) -> web.StreamResponse:
        return _json({} if self._commands is None else await asyncio.to_thread(self._commands.options))

    async def _set(self, request: web.Request) -> web.StreamResponse:
        commands, payload = self._admitted(), await _body(request)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Mapping[str, JsonValue], int]] = loop.create_future()

        def answered(fields: Mapping[str, JsonValue], status: int) -> None:
            loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result((fields, status)))

        commands.submit(request.match_info["name"], payload, answered)
        try:
            fields, status = await asyncio.wait_for(answer, _ANSWER_S)
        except asyncio.TimeoutError:
            error = f"no answer in {_ANSWER_S:g} s; the command may still be executed"
            fields, status = {"id": "", "command": request.match_info["name"], "ok": False, "error": error}, 503
        return _json(fields, status)

    async def _change(
        self, change: Callable[[PageCommands, Mapping[str, Any]], Awaitable[web.StreamResponse]], request: web.Request
    ) -> web.StreamResponse:
        """Save or undo. A disk may be slow, so the change is not canceled by the time limit of a request."""
        commands, fields = self._admitted(), _object(request, await _body(request))
        if not isinstance(fields.get("version"), str):
            return _json({"errors": ["version: missing; expected the one of GET /api/config"]}, 422)

        async def run() -> web.StreamResponse:
            async with self._one_at_a_time:
                try:
                    return await change(commands, fields)
                except Conflict as exc:
                    view = {**await asyncio.to_thread(commands.view), "commands": True}
                    return _json({"error": str(exc), "version": exc.version, "config": view}, 409)

        try:
            return await asyncio.shield(run())
        except ConfigError as exc:
            return _json({"errors": list(exc.problems)}, 422)
        except OSError as exc:
            return _json({"error": f"not saved: {exc.strerror or foreign_exception(exc)}; nothing was changed"}, 507)

    async def _save(self, commands: PageCommands, fields: Mapping[str, Any]) -> web.StreamResponse:
        changes = fields.get("changes")
        if not isinstance(changes, dict):
            return _json({"errors": ["changes: missing; expected rules, heads, mask or schedule"]}, 422)
        return _json(await asyncio.to_thread(commands.save, fields["version"], changes))

    async def _undo(self, commands: PageCommands, fields: Mapping[str, Any]) -> web.StreamResponse:
        undone = await asyncio.to_thread(commands.undo, fields["version"])
        return _json({"error": "there is nothing to undo"}, 404) if undone is None else _json(undone)

    def _admitted(self) -> PageCommands:
        from aiohttp.web import HTTPForbidden

        if self._commands is None or not self._enabled:
            raise HTTPForbidden(text=_OFF)
        return self._commands


async def _body(request: web.Request) -> bytes:
    from aiohttp.web import HTTPBadRequest, HTTPRequestEntityTooLarge, RequestPayloadError

    data = bytearray()
    try:
        async for chunk in request.content.iter_any():
            data += chunk
            if len(data) > MAX_BODY_BYTES:
                raise HTTPRequestEntityTooLarge(
                    MAX_BODY_BYTES, len(data), text=f"expected at most {MAX_BODY_BYTES} bytes"
                )
    except RequestPayloadError as exc:
        raise HTTPBadRequest(text="malformed body") from exc
    return bytes(data)


def _object(request: web.Request, data: bytes) -> dict[str, Any]:
    """The JSON object of a request. A form of another site cannot send its Content-Type."""
    from aiohttp.web import HTTPBadRequest, HTTPUnsupportedMediaType

    if request.content_type != "application/json":
        raise HTTPUnsupportedMediaType(text="expected Content-Type: application/json")
    try:
        fields = json.loads(data, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as exc:
        raise HTTPBadRequest(text="malformed JSON") from exc
    if not isinstance(fields, dict):
        raise HTTPBadRequest(text="expected a JSON object")
    return fields


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def _json(fields: Mapping[str, Any], status: int = 200) -> web.StreamResponse:
    from aiohttp.web import json_response

    return json_response(fields, status=status)
