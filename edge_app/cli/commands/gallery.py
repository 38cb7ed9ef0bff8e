"""edge-app gallery: the people that a camera knows."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.cli.arguments import Commands, add_config, add_json, load
from edge_app.errors import ConfigError, foreign_text

if TYPE_CHECKING:
    from edge_app.cli.gallery_session import Session
    from edge_app.gallery import Person


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "gallery",
        help="enroll, list, remove and test the people that a camera knows",
        description="The people that the rule `identity` knows, each by embeddings of pictures. They are in state_dir;"
        " a running daemon notices changes within seconds.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = actions.add_parser(
        "add",
        help="enroll a person",
        description="Enroll a person by pictures, each of one face. Nothing is stored unless all pictures are usable.",
    )
    adding.add_argument("name", metavar="NAME", help="of the person, as it appears in events")
    adding.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="JPEG, PNG, BMP or WebP")
    adding.add_argument("--more", action="store_true", help="add pictures to a person who is enrolled already")
    adding.add_argument(
        "--keep-pictures", action="store_true", help="store the aligned faces too (default: only embeddings)"
    )
    adding.set_defaults(command=_add)
    listing = actions.add_parser("list", help="list the people", description="List the people, with their pictures.")
    listing.add_argument("--pictures", type=Path, metavar="DIR", help="also write the kept pictures there")
    add_json(listing)
    listing.set_defaults(command=_list)
    removing = actions.add_parser(
        "remove",
        help="remove people, with all that is stored about them",
        description="Remove people from the gallery, with their embeddings and kept pictures.",
    )
    removing.add_argument("names", nargs="*", metavar="NAME", help="of the people")
    removing.add_argument("--all", action="store_true", help="remove everybody; needs no key")
    removing.set_defaults(command=_remove)
    testing = actions.add_parser(
        "test",
        help="find the threshold for a rate of false accepts",
        description="Find the threshold of the rule `identity` for a rate of false accepts, from pictures of several"
        " people: those who are enrolled, or a folder with one folder of pictures for each.",
    )
    testing.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of people (default: the gallery)")
    testing.add_argument(
        "--far", type=_rate, default=0.01, metavar="RATE", help="of strangers taken for a known person (default: 0.01)"
    )
    add_json(testing)
    testing.set_defaults(command=_test)
    encrypting = actions.add_parser(
        "encrypt", help="encrypt the gallery", description="Encrypt a gallery that was stored without a key."
    )
    encrypting.set_defaults(command=_encrypt)
    for action in (adding, listing, removing, testing, encrypting):
        add_config(action)
        action.add_argument("--head", metavar="NAME", help="the head that embeds (default: that of the rule)")
        action.add_argument("--key", metavar="KEY", help="file:PATH or env:NAME (default: that of the rule)")


def _session(arguments: argparse.Namespace) -> Session:
    from edge_app.cli.gallery_session import Session

    return Session(load(arguments), arguments.head, arguments.key)


def _add(arguments: argparse.Namespace) -> int:
    person = _session(arguments).enroll(
        arguments.name, arguments.pictures, more=arguments.more, keep=arguments.keep_pictures
    )
    print(f"{person.name}: {len(person.embeddings)} pictures")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    gallery = _session(arguments).gallery()
    if arguments.pictures is not None:
        _export(gallery.people, arguments.pictures)
    listed = [
        {"name": p.name, "added": p.added, "pictures": len(p.embeddings), "kept": len(p.pictures)}
        for p in gallery.people
    ]
    if arguments.json:
        print(json.dumps({"head": gallery.head, "model": gallery.model, "people": listed}))
    elif not listed:
        print("nobody is enrolled: edge-app gallery add NAME PICTURE…", file=sys.stderr)
    else:
        for each in listed:
            kept = f", {each['kept']} kept" if each["kept"] else ""
            print(f"{each['name']:24} {each['added']}  {each['pictures']} pictures{kept}")
    return 0


def _export(people: Sequence[Person], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, person in enumerate(people):
            for k, picture in enumerate(person.pictures):
                (folder / f"{i:04}-{k:02}.png").write_bytes(picture)
    except OSError as exc:
        raise ConfigError(f"{folder}: cannot be written: {exc.strerror}; expected a folder for pictures") from exc


def _remove(arguments: argparse.Namespace) -> int:
    if bool(arguments.names) == arguments.all:
        raise ConfigError("gallery remove: expected names of people, or --all")
    removed = _session(arguments).remove(None if arguments.all else arguments.names)
    print(f"removed: {', '.join(removed)}" if removed else "removed the gallery")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from edge_app.cli.gallery_report import tested

    print(tested(_session(arguments), arguments.folder, arguments.far, as_json=arguments.json))
    return 0


def _encrypt(arguments: argparse.Namespace) -> int:
    _session(arguments).encrypt()
    print("encrypted")
    return 0


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"found '{foreign_text(text)}'; expected a rate such as 0.01")
    return rate
