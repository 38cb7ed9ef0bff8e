"""The galleries of the rules `identity`, for `edge-app check`. Not here: the galleries (edge_app/gallery/)."""

from __future__ import annotations

from collections.abc import Iterator

from edge_app.cli.embedder import fingerprint
from edge_app.cli.findings import Finding
from edge_app.config import Config
from edge_app.gallery import load, path_of


def run(config: Config) -> Iterator[Finding]:
    """One finding for each rule: how many people it knows. Raises ConfigError if a gallery cannot be used."""
    for rule in config.rules:
        if rule.type != "identity":
            continue
        head = str(rule.options["head"])
        path = path_of(config.device.state_dir, head)
        gallery = load(path, rule.options.get("key"))
        if gallery is None or not gallery.people:
            text = f"{rule.name}: nobody is enrolled, so everybody is unknown; expected: edge-app gallery add"
            yield Finding("gallery", "warn", text)
            continue
        spec = config.manifest.heads.get(head)
        if spec is not None and spec.graph and gallery.model != fingerprint(config, spec):
            text = f"{path}: found embeddings of another model; expected people enrolled with this one"
            yield Finding("gallery", "fail", text)
            continue
        pictures = sum(len(person.embeddings) for person in gallery.people)
        yield Finding("gallery", "ok", f"{rule.name}: {len(gallery.people)} people, {pictures} pictures")
