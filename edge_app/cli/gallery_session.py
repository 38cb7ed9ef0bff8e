"""What `edge-app gallery` does with the gallery of a configuration: enroll, remove, encrypt.

Not here: the arguments (commands/gallery.py), embeddings (embedder.py), the file (gallery_file.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from edge_app.cli import embedder, gallery_file
from edge_app.config import Config
from edge_app.errors import ConfigError, foreign_text
from edge_app.frame import UInt8
from edge_app.gallery import Gallery, Person, path_of
from edge_app.gallery.people import checked_name, joined
from edge_app.options import Secret
from edge_app.options.document import nearest

_SAME_PICTURE = 0.9999  # similarity of two embeddings of one picture


class Session:
    """The gallery of one head. head, key: from the command line; None: as the rule `identity` says."""

    def __init__(self, config: Config, head: str | None, key: str | None) -> None:
        self.config = config
        self.spec = embedder.head_of(config, head)
        self.path = path_of(config.device.state_dir, self.spec.name)
        self._key = _key_of(config, self.spec.name) if key is None else _parsed(key)

    def gallery(self, *, model: str | None = None) -> Gallery:
        """The people. model: the fingerprint to expect. Raises ConfigError."""
        return gallery_file.read(self.path, self._key, self.spec.name, model)

    def enroll(self, name: str, pictures: Sequence[Path], *, more: bool, keep: bool) -> Person:
        """Add a person, or pictures of one who is known. Raises ConfigError; nothing is stored then."""
        name, model = checked_name(name), embedder.fingerprint(self.config, self.spec)
        self._check_new(self.gallery(model=model), name, more)  # before the model is loaded
        with embedder.opened(self.config, self.spec) as opened:
            faces = [opened.face(path) for path in pictures]
        vectors = joined([face.embedding for face in faces])
        kept = tuple(_png(face.crop) for face in faces) if keep else ()
        with gallery_file.locked(self.path):
            gallery = self.gallery(model=model)
            known = self._check_new(gallery, name, more)
            _check_pictures(gallery, pictures, vectors)
            now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            person = Person(name, now, vectors, kept)
            if known is not None:
                together = np.concatenate([known.embeddings, vectors])
                person = Person(name, known.added, together, (*known.pictures, *kept))
            changed = replace(gallery, head=self.spec.name, model=model)
            try:
                changed = changed.with_person(person)
            except ValueError as exc:
                raise ConfigError(f"{self.path}: {exc}; nothing was changed") from exc
            gallery_file.write(self.path, changed, self._key)
        return person

    def remove(self, names: Sequence[str] | None) -> list[str]:
        """Remove people; None: everybody, whatever the file contains. Raises ConfigError; nothing is removed then."""
        with gallery_file.locked(self.path):
            if names is None:
                gallery_file.write(self.path, Gallery(self.spec.name, ""), None)
                return []
            gallery = self.gallery()
            known = [person.name for person in gallery.people]
            chosen = [checked_name(name) for name in names]
            for name in chosen:
                if name not in known:
                    similar = nearest(name, known) if known else "; the gallery is empty"
                    raise ConfigError(f"gallery: there is nobody with the name '{foreign_text(name)}'{similar}")
            for name in dict.fromkeys(chosen):
                gallery = gallery.without(name)
            gallery_file.write(self.path, gallery, self._key)
        return chosen

    def encrypt(self) -> None:
        """Write a gallery that is not encrypted with the key. Raises ConfigError."""
        if self._key is None:
            raise ConfigError("gallery encrypt: found no key; expected option `key` of the rule identity, or --key")
        with gallery_file.locked(self.path):
            gallery = gallery_file.read(self.path, None, self.spec.name, None)
            if not gallery.people:
                raise ConfigError(f"{self.path}: the gallery is empty; expected people: edge-app gallery add")
            gallery_file.write(self.path, gallery, self._key)

    def _check_new(self, gallery: Gallery, name: str, more: bool) -> Person | None:
        known = gallery.person(name)
        if known is not None and not more:
            raise ConfigError(
                f"gallery: '{name}' is enrolled already; expected another name, or --more to add pictures"
            )
        if known is None and more:
            names = [person.name for person in gallery.people]
            raise ConfigError(f"--more: there is nobody with the name '{foreign_text(name)}'{nearest(name, names)}")
        return known


def _check_pictures(gallery: Gallery, pictures: Sequence[Path], vectors: np.ndarray) -> None:
    """Raises ConfigError if a picture is enrolled already, or given twice."""
    similarity = vectors @ vectors.T
    for i, path in enumerate(pictures):
        if (similarity[i, :i] >= _SAME_PICTURE).any():
            raise ConfigError(f"{path}: is the same as another of these pictures; expected each once")
    if not gallery.people:
        return
    if vectors.shape[1] != gallery.dimension:
        found = f"found embeddings of {vectors.shape[1]} values, the gallery has {gallery.dimension}"
        raise ConfigError(f"gallery: {found}; expected people enrolled with this model")
    person, best = gallery.search(vectors)
    for path, index, score in zip(pictures, person.tolist(), best.tolist()):
        if score >= _SAME_PICTURE:
            raise ConfigError(
                f"{path}: is enrolled already, of '{gallery.people[index].name}'; expected another picture"
            )


def _key_of(config: Config, head: str) -> Secret | None:
    """The key in the rules `identity` of a head. Raises ConfigError if they have different ones."""
    rules = [rule for rule in config.rules if rule.type == "identity" and rule.options.get("head") == head]
    keys = {rule.options.get("key") for rule in rules}
    if len(keys) > 1:
        raise ConfigError(f"{config.path}: rules identity of '{head}': found different keys; expected one")
    return next(iter(keys), None)


def _parsed(text: str) -> Secret:
    try:
        return Secret.parse(text, Path())
    except ValueError as exc:
        raise ConfigError(f"--key: found '{foreign_text(text)}'; {exc}") from exc


def _png(image: UInt8) -> bytes:
    good, data = cv2.imencode(".png", image)
    assert good
    return data.tobytes()
