"""Save and Undo: changes of the configuration, checked as the file is, and written atomically.

They go into config.yaml, whose comments stay, if it can be written; else into overrides.yaml in state_dir, which is
loaded over it. Not here: HTTP (web/commands.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from edge_app import config as configs
from edge_app import registry
from edge_app.commands import atomic_file
from edge_app.commands.changes import score_of
from edge_app.commands.undo import Files, History
from edge_app.config import Config
from edge_app.config.loading import Unsaved
from edge_app.config.overrides import FILE, UNFIT_COPY
from edge_app.config.patching import Plain, apply_patch, compose, plain
from edge_app.config.splicing import flow, splice
from edge_app.errors import ConfigError, foreign_text
from edge_app.options.document import MAX_BYTES, Problems, parse_yaml
from edge_app.options.files import read_regular

_BLOCKS = ("rules", "heads", "mask", "schedule")  # of a change by the page
_OF_SOURCE = ("mask", "schedule")
_MAX_DEPTH = 8
_PLACE = re.compile(r"^\S*\.yaml(:\d+)?: ")  # of a message
_HEADER = "# Saved by edge-app and loaded over config.yaml. To remove it: edge-app config reset"


class Conflict(Exception):
    """The files are not the version that the change was made for. version: the present one."""

    def __init__(self, version: str) -> None:
        super().__init__(
            "config.yaml was edited in the meantime; expected the change to be made again on its new version"
        )
        self.version = version


class ConfigStore:
    """The configuration files of a daemon. For any thread. path: of config.yaml.

    An overrides.yaml that does not fit config.yaml is replaced by the next change; a copy of it is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._history = History()

    def view(self) -> dict[str, Any]:
        """The part of `GET /api/config` that is in the files. Raises ConfigError if they are invalid."""
        with self._lock:
            loaded, files = configs.load(self._path, use_unfit=True), self._read()
            document = _document(self._usable(files, loaded), loaded, self._path)
            return {**self._position(files), "unfit": list(loaded.unfit), **_editable(loaded, document)}

    def save(self, version: str, changes: Mapping[str, Plain]) -> dict[str, Any]:
        """Save a change of the page. Returns `version`, `stored_in` and `undo`.

        Raises Conflict, ConfigError with every mistake, or OSError; nothing is written then.
        """
        patch = _patch(changes)
        with self._lock:
            files = self._expect(version)
            used = self._usable(files)
            return self._change(files, used, self._after(used, patch, _dumped(patch)))

    def persist(self, patch: Mapping[str, Plain]) -> dict[str, Any]:
        """Save the patch of a command. Raises as `save` does, without Conflict."""
        with self._lock:
            files = self._read()
            used = self._usable(files)
            return self._change(files, used, self._after(used, patch, used.overrides))

    def undo(self, version: str) -> dict[str, Any] | None:
        """Take back the latest change. Returns as `save` does; None if there is none. Raises as `save` does."""
        with self._lock:
            files, history = self._expect(version), self._history.read(self._state_file().parent)
            if not history:
                return None
            before, after = history[-1]
            if after != files.version:
                raise Conflict(files.version)
            self._load(Unsaved(before.config, before.overrides))  # the model or the history may have changed
            self._write(files, before)
            self._history.write(self._state_file().parent, history[:-1])
            return self._position(before)

    def _change(self, files: Files, used: Files, after: Files) -> dict[str, Any]:
        """Write `after`. used: `files` without what does not fit."""
        folder = self._state_file().parent
        if used.overrides != files.overrides:  # there is no way back to what cannot be loaded
            atomic_file.replace(folder / UNFIT_COPY, files.overrides)
            self._write(files, after)
            self._history.write(folder, [])
        elif after != files:
            self._write(files, after)
            self._history.write(folder, [*self._history.read(folder), (files, after.version)])
        return self._position(after)

    def _usable(self, files: Files, loaded: Config | None = None) -> Files:
        """The files without what does not fit of overrides.yaml. Raises ConfigError if config.yaml is invalid."""
        loaded = self._load(Unsaved(files.config, files.overrides), use_unfit=True) if loaded is None else loaded
        if not loaded.unfit:
            return files
        patch = plain(parse_yaml(files.overrides, Problems(self._path))) or {}
        fitting = {block: changes for block, changes in patch.items() if block == "source" and loaded.overrides}
        return Files(files.config, _dumped(fitting) if fitting else b"")

    def _state_file(self) -> Path:
        return configs.load_device(self._path).state_dir / FILE

    def _read(self) -> Files:
        """Raises ConfigError if a file cannot be read."""
        path = self._path
        try:
            config = read_regular(path, MAX_BYTES)
            path = self._state_file()
            present = path.is_symlink() or path.exists()
            return Files(config, read_regular(path, MAX_BYTES, inside=path.parent) if present else b"")
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc

    def _expect(self, version: str) -> Files:
        files = self._read()
        if files.version != version:
            raise Conflict(files.version)
        return files

    def _load(self, unsaved: Unsaved, *, use_unfit: bool = False) -> Config:
        """Check contents as the files are. Raises ConfigError, whose lines say where in the configuration."""
        try:
            return configs.load(self._path, unsaved=unsaved, use_unfit=use_unfit)
        except ConfigError as exc:
            raise ConfigError(*(_PLACE.sub("", problem) for problem in exc.problems)) from exc

    def _after(self, files: Files, patch: Mapping[str, Plain], checked: bytes) -> Files:
        """The files with a patch, checked. Raises ConfigError.

        checked: must be valid as overrides.yaml: the page may change the same in both files.
        """
        if self._stored_in(files) == FILE:
            old = plain(parse_yaml(files.overrides, Problems(self._path))) if files.overrides else {}
            document = plain(parse_yaml(files.config, Problems(self._path)))
            after = Files(files.config, _dumped(_composed(document, old, patch)))
        else:
            loaded = self._load(Unsaved(files.config, checked))
            after = Files(splice(files.config, patch, tuple(loaded.manifest.heads), self._path), files.overrides)
        self._load(Unsaved(after.config, after.overrides))
        return after

    def _stored_in(self, files: Files) -> str:
        return FILE if files.overrides or not atomic_file.can_replace(self._path) else self._path.name

    def _write(self, before: Files, after: Files) -> None:
        """Write what differs. Raises Conflict if a file was edited just now, OSError if it cannot be written."""
        present = self._read()
        if present != before:
            raise Conflict(present.version)
        if after.config != before.config:
            atomic_file.replace(self._path, after.config)
        path = self._state_file()
        if after.overrides != before.overrides:
            if after.overrides:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_file.replace(path, after.overrides)
            else:
                path.unlink(missing_ok=True)
                atomic_file.sync_folder(path.parent)

    def _position(self, files: Files) -> dict[str, Any]:
        history = self._history.read(self._state_file().parent)
        undo = len(history) if history and history[-1][1] == files.version else 0  # none after an edit on disk
        return {"version": files.version, "stored_in": self._stored_in(files), "undo": undo}


def _document(files: Files, loaded: Config, path: Path) -> dict[str, Plain]:
    """The configuration as a value, overrides included. loaded: it was checked."""
    document = plain(parse_yaml(files.config, Problems(path)))
    patch = plain(parse_yaml(files.overrides, Problems(path))) if files.overrides else {}
    patch = {block: changes for block, changes in patch.items() if changes}
    return apply_patch(document, patch, tuple(loaded.manifest.heads))


def _editable(loaded: Config, document: Mapping[str, Plain]) -> dict[str, Any]:
    source = document.get("source") or {}
    rules = {rule["name"]: {k: v for k, v in rule.items() if k != "name"} for rule in document.get("rules") or []}
    given = document.get("heads") or {}
    heads = {name: dict(given.get(name) or {}) for name in loaded.heads}
    for name, options in heads.items():
        score = score_of(loaded, name)
        if score is not None:
            options["score"] = score
    return {
        "camera": loaded.source.common.name,
        "labels": {name: list(loaded.manifest.heads[name].labels) for name in loaded.heads},
        "tracked": None if loaded.track is None else loaded.track.head,
        "rules": rules,
        "rule_types": registry.names("rules"),
        "heads": heads,
        "mask": source.get("mask") or [],
        "schedule": source.get("schedule") or [],
    }


def _patch(changes: Mapping[str, Plain]) -> dict[str, Plain]:
    """The patch of config.yaml for the changes of the page. Raises ConfigError."""
    patch: dict[str, Any] = {}
    for block, value in changes.items():
        if block not in _BLOCKS:
            found = foreign_text(block, 40)
            raise ConfigError(f"changes: found '{found}'; expected one of: {', '.join(_BLOCKS)}")
        _check_depth(block, value, _MAX_DEPTH)
        if block in _OF_SOURCE:
            patch.setdefault("source", {})[block] = value
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{block}: found {type(value).__name__}; expected names and their changes")
        else:
            patch[block] = dict(value)
    return patch


def _check_depth(where: str, value: Plain, left: int) -> None:
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if children and not left:
        raise ConfigError(f"{where}: nested deeper than {_MAX_DEPTH} levels; expected fewer")
    for child in children:
        _check_depth(where, child, left - 1)


def _composed(document: Mapping[str, Plain], old: Mapping[str, Plain], patch: Mapping[str, Plain]) -> dict[str, Plain]:
    """The content of overrides.yaml after a patch. document: config.yaml, over which it is loaded."""
    result: dict[str, Plain] = compose({block: changes or {} for block, changes in old.items()}, patch)
    present = {rule["name"]: rule for rule in document.get("rules") or []}
    rules = dict(result.get("rules") or {})
    for name, change in list(rules.items()):
        removed = name in (old.get("rules") or {}) and old["rules"][name] is None
        if change is None and name not in present:
            del rules[name]
        elif change is not None and removed and name in present:  # a new rule: nothing of the removed one stays
            gone = {option: None for option in present[name] if option not in ("name", *change)}
            rules[name] = {**gone, **change}
    return {**result, "rules": rules} if "rules" in result else result


def _dumped(patch: Mapping[str, Plain]) -> bytes:
    """A patch as the text of overrides.yaml. Raises ConfigError."""
    lines = [_HEADER]
    try:
        for block, changes in patch.items():
            lines.append(f"{block}:{'' if changes else ' {}'}")
            lines += [f"  {flow(name)}: {flow(change)}" for name, change in changes.items()]
        return "\n".join([*lines, ""]).encode()
    except ValueError as exc:  # a number or a text that no file can have
        raise ConfigError(f"changes: found a value that YAML cannot express ({foreign_text(exc)})") from exc
