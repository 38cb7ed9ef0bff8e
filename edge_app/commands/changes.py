"""Commands as changes of a configuration: for the running pipeline, and as a patch for `persist`.

Not here: applying a configuration (pipeline/), writing a patch (store.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_app import registry
from edge_app.commands.parsing import Command, CommandError
from edge_app.config import Config, HeadConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.options.document import nearest


class LiveChanges:
    """The commands in effect, in order. They hold until the next start, also across reloads. Never changed."""

    def __init__(self, commands: Mapping[str, Command] | None = None) -> None:
        self._commands: Mapping[str, Command] = commands or {}  # by name

    def plus(self, command: Command) -> LiveChanges:
        """With one more command, which replaces an earlier one of the same name."""
        others = {name: each for name, each in self._commands.items() if name != command.name}
        return LiveChanges({**others, command.name: command})

    def over(self, loaded: Config) -> Config:
        """The configuration of the files with all commands over it. Raises CommandError if one does not fit."""
        config = loaded
        for command in self._commands.values():
            config = changed(config, command)
        return config

    def reloaded(self, before: Config, loaded: Config) -> LiveChanges:
        """Those that still hold after the files were edited: their subject exists and is configured as before."""
        return LiveChanges({name: each for name, each in self._commands.items() if _holds(each, before, loaded)})

    def status(self) -> dict[str, bool | float | str | None]:
        """By name, the value of each command."""
        return {name: command.value for name, command in self._commands.items()}


def _holds(command: Command, before: Config, loaded: Config) -> bool:
    try:
        changed(loaded, command)
        return setting(before, command) == setting(loaded, command)
    except CommandError:
        return False


def changed(config: Config, command: Command) -> Config:
    """The configuration after a command. Raises CommandError if it does not fit: there is no such head or rule."""
    value: Any = command.value
    if command.kind == "heads/*":
        head = _head(config, command)
        return _with_head(config, command.target, replace(head, common=replace(head.common, enabled=value)))
    if command.kind == "heads/*/score":
        head = _head(config, command)
        if _score(config, command) is None:
            raise CommandError(f"{command.name}: the head '{command.target}' has no score; expected another head", 409)
        return _with_head(config, command.target, replace(head, options={**head.options, "score": value}))
    if command.kind == "rules/*":
        _rule(config, command)
        rules = (replace(each, enabled=value) if each.name == command.target else each for each in config.rules)
        return config.replaced(rules=tuple(rules))
    if command.kind == "detect":
        off = {name: replace(head, common=replace(head.common, enabled=False)) for name, head in config.heads.items()}
        return config if value else config.replaced(heads=off)
    if command.kind == "reuse":
        return config.replaced(reuse=_reuse(config, on=value))
    if command.kind == "precision":
        if value != "float" and "int8" not in config.manifest.targets():
            raise CommandError(f"precision: found '{value}', the model has no int8 files; expected float", 409)
        return config.replaced(model=replace(config.model, precision=value))
    return config


def patch_of(config: Config, command: Command) -> dict[str, Any]:
    """The patch (config/patching.py) of config.yaml that has the effect of a command at every start."""
    if command.kind == "heads/*":
        return {"heads": {command.target: {"enabled": command.value}}}
    if command.kind == "heads/*/score":
        return {"heads": {command.target: {"score": command.value}}}
    if command.kind == "rules/*":
        return {"rules": {command.target: {"enabled": command.value}}}
    if command.kind == "reuse":
        return {"reuse": {"mode": _reuse(config, on=bool(command.value)).mode}}
    return {"model": {"precision": command.value}}


def setting(config: Config, command: Command) -> object:
    """What a configuration says about the subject of a command. Raises CommandError if it does not exist."""
    if command.kind == "heads/*":
        return _head(config, command).common.enabled
    if command.kind == "heads/*/score":
        return _score(config, command)
    if command.kind == "rules/*":
        return _rule(config, command)
    return {"reuse": config.reuse.mode, "precision": config.model.precision}.get(command.kind)


def score_of(config: Config, name: str) -> float | None:
    """The score threshold of a head, as configured or by default; None if its family has none."""
    family = config.manifest.heads[name].family
    default = next((o.default for o in registry.options("heads", family) if o.name == "score"), None)
    score: Any = config.heads[name].options.get("score", default)
    return float(score) if isinstance(score, (int, float)) else None


def _head(config: Config, command: Command) -> HeadConfig:
    if command.target not in config.heads:
        raise CommandError(
            f"{command.name}: there is no head '{command.target}'{_expected(command, config.heads)}", 404
        )
    return config.heads[command.target]


def _rule(config: Config, command: Command) -> bool:
    """Whether a rule is enabled."""
    rules = {rule.name: rule.enabled for rule in config.rules}
    if command.target not in rules:
        raise CommandError(f"{command.name}: there is no rule '{command.target}'{_expected(command, rules)}", 404)
    return rules[command.target]


def _score(config: Config, command: Command) -> float | None:
    _head(config, command)
    return score_of(config, command.target)


def _with_head(config: Config, name: str, head: HeadConfig) -> Config:
    return config.replaced(heads={**config.heads, name: head})


def _reuse(config: Config, *, on: bool) -> ReuseConfig:
    if not on:
        return replace(config.reuse, mode="off")
    return config.reuse if config.reuse.mode != "off" else replace(config.reuse, mode="auto")


def _expected(command: Command, known: Mapping[str, object]) -> str:
    return nearest(command.target, known)
