"""Executes commands between two frames, and answers them. Not here: parsing and limits (commands/), topics and HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from edge_app.commands import Answer, Command, CommandError, Inbox, Pending
from edge_app.commands.changes import LiveChanges, patch_of, score_of
from edge_app.commands.store import ConfigStore, Conflict
from edge_app.config import Config
from edge_app.errors import ConfigError, EdgeError, foreign_exception, foreign_text
from edge_app.frame import Event, JsonValue

if TYPE_CHECKING:
    from edge_app.pipeline import Pipeline
    from edge_app.state.board import Answered

_LOG = logging.getLogger(__name__)
_CONFIGURES = ("heads/*", "heads/*/score", "rules/*", "detect", "reuse", "precision")


class Actions(Protocol):
    """What commands do to the daemon, besides changing its configuration."""

    def apply(self, config: Config) -> None:
        """Switch to another configuration between two frames. Raises EdgeError; the old one then stays."""
        ...

    def restart(self) -> None:
        """Let a new process take over."""
        ...

    def request_snapshot(self, event: Event) -> None:
        """Store the next frame as the image of an event."""
        ...


class Commands:
    """The commands of a running daemon. loaded: the configuration of the files, without commands."""

    def __init__(self, running: Pipeline, actions: Actions, now_s: Callable[[], float]) -> None:
        self.inbox = Inbox(now_s)
        self.store = ConfigStore(running.config.path)
        self._running, self._actions, self._now_s = running, actions, now_s
        self._loaded = running.config
        self._live = LiveChanges()
        self._muted_until_s: float | None = None
        self._reload_wanted = False
        self._writer = ThreadPoolExecutor(1, "config-write")  # a write may wait for a slow disk
        running.board.receiver = self._receive

    def close(self) -> None:
        """Finish the write in progress; those that wait are not stored. Safe to call twice."""
        self._running.board.receiver = None
        self._writer.shutdown(cancel_futures=True)

    def over(self, loaded: Config) -> Config:
        """The configuration to apply when the files are loaded again: the commands that they do not contradict stay."""
        return self._live.reloaded(self._loaded, loaded).over(loaded)

    def adopt(self, loaded: Config) -> None:
        """The configuration of `over` is in effect."""
        self._live, self._loaded = self._live.reloaded(self._loaded, loaded), loaded

    def run(self) -> bool:
        """Execute what is due. Returns whether the files were changed, so that they have to be loaded."""
        for pending in self.inbox.take():
            self._execute(pending)
        if self._muted_until_s is not None and self._now_s() >= self._muted_until_s:
            self._mute(0)
        wanted, self._reload_wanted = self._reload_wanted, False
        return wanted

    def status(self) -> dict[str, JsonValue]:
        """The commands in effect, and what overrides.yaml changes. For any thread."""
        muted_s = self._muted_s()
        fields: dict[str, JsonValue] = {"overrides": list(self._loaded.overrides)} if self._loaded.overrides else {}
        commands: dict[str, JsonValue] = {**self._live.status(), **({"mute_s": muted_s} if muted_s else {})}
        return fields | ({"commands": commands} if commands else {})

    def _muted_s(self) -> int:
        """How long no rule is evaluated from now on. For any thread."""
        until_s = self._muted_until_s
        return 0 if until_s is None else max(0, round(until_s - self._now_s()))

    # For the page; on its threads.

    def view(self) -> dict[str, Any]:
        """The answer to `GET /api/config`, without `commands`. Raises ConfigError."""
        config, health = self._running.config, self._running.health()
        effective = {
            "heads": {name: head.common.enabled for name, head in config.heads.items()},
            "rules": {rule.name: rule.enabled for rule in config.rules},
            "running": {"heads": dict(health.heads), "rules": dict(health.rules)},
            "scores": {name: score for name in config.heads if (score := score_of(config, name)) is not None},
            "reuse": config.reuse.mode,
            "precision": config.model.precision,
            "muted_s": self._muted_s(),
        }
        self._expect_one_camera()
        return {**self.store.view(), "commands_seen": effective}

    def options(self) -> dict[str, JsonValue]:
        """The answer to `GET /api/options`."""
        from edge_app.config.form import editable  # imports every rule: not before a user opens the form

        return editable(self._running.config)

    def save(self, version: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Save a change of the page, as ConfigStore does; the next frame is processed with it."""
        self._expect_one_camera()
        saved = self.store.save(version, changes)
        self._reload_wanted = True
        return saved

    def undo(self, version: str) -> dict[str, Any] | None:
        """Take back the latest change, as ConfigStore does."""
        self._expect_one_camera()
        undone = self.store.undo(version)
        self._reload_wanted = self._reload_wanted or undone is not None
        return undone

    def _expect_one_camera(self) -> None:
        """Raises ConfigError with several cameras: a saved change is of the whole file."""
        config = self._running.config
        if config.several:
            raise ConfigError(
                f"{config.path}: has several cameras, so the page cannot change it; expected an edit of it"
            )

    def submit(self, name: str, payload: bytes, answered: Answered) -> None:
        """A command of the page."""
        self.inbox.submit("page", name, payload, lambda answer: answered(answer.body(), answer.status))

    def _receive(self, name: str, payload: bytes, answered: Answered) -> None:
        """A command that a sink has received; on its thread."""
        self.inbox.submit("mqtt", name, payload, lambda answer: answered(answer.body(), answer.status))

    # Below: on the daemon's thread.

    def _execute(self, pending: Pending) -> None:
        command = pending.command
        try:
            self._apply(pending)
        except CommandError as exc:
            self._answer(pending, str(exc), exc.status)
        except EdgeError as exc:
            self._answer(pending, f"{command.name}: {str(exc).splitlines()[0]}", 409)
        except Exception as exc:  # noqa: BLE001  (a command must not end the daemon)
            _LOG.exception("command %s failed", foreign_text(command.name))
            self._answer(pending, f"{command.name}: internal error: {foreign_exception(exc)}", 500)
        else:
            if command.persist:
                self._writer.submit(self._persist, pending)
            else:
                self._answer(pending)

    def _apply(self, pending: Pending) -> None:
        """Execute a command and publish its event. Raises CommandError or EdgeError."""
        command = pending.command
        if command.persist and self._running.config.several:
            raise CommandError(f"{command.name}: found persist with several cameras; expected an edit of the file", 409)
        if command.kind in _CONFIGURES:
            live = self._live.plus(command)
            config = live.over(self._loaded)
            if config != self._running.config:
                self._actions.apply(config)
            self._live = live
        if command.kind == "snapshot" and not self._running.config.snapshots.enabled:
            raise CommandError("snapshot: snapshots are off; expected snapshots.enabled: true", 409)
        event = self._report(pending)
        if command.kind == "snapshot":
            self._actions.request_snapshot(event)
        elif command.kind == "mute":
            self._mute(float(command.value or 0))
        elif command.kind == "reload":
            self._reload_wanted = True
        elif command.kind == "restart":
            self._actions.restart()

    def _report(self, pending: Pending) -> Event:
        """Publish the event of a command."""
        command = pending.command
        value: dict[str, JsonValue] = {"command": command.name, "value": _published(command), "origin": pending.origin}
        if command.id:
            value["id"] = command.id
        return self._running.report_command(value)

    def _mute(self, minutes: float) -> None:
        self._muted_until_s = self._now_s() + 60 * minutes if minutes else None
        self._running.mute(bool(minutes))

    def _answer(self, pending: Pending, error: str | None = None, status: int = 200) -> None:
        command = pending.command
        if error is not None:
            self.inbox.rejected += 1
            _LOG.warning("command rejected: %s", foreign_text(error, 500))
        pending.reply(Answer(command.id, command.name, error, status))

    def _persist(self, pending: Pending) -> None:
        """Store a command, on the writer's thread."""
        name = pending.command.name
        try:
            self.store.persist(patch_of(self._loaded, pending.command))
        except OSError as exc:
            self._answer(pending, f"{name}: in effect, but not stored: {exc.strerror or foreign_exception(exc)}", 507)
        except (EdgeError, Conflict) as exc:
            self._answer(pending, f"{name}: in effect, but not stored: {str(exc).splitlines()[0]}", 409)
        else:
            self._reload_wanted = True
            self._answer(pending)


def _published(command: Command) -> JsonValue:
    """The value of a command as it is sent."""
    return {True: "ON", False: "OFF"}[command.value] if isinstance(command.value, bool) else command.value
