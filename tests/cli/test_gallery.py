"""edge-app gallery: enrolling, listing, removing, testing; mistakes are one line, and nobody is lost."""

from __future__ import annotations

import json
import os

import pytest

from edge_app import config, gallery
from edge_app.cli import gallery_check, main
from edge_app.commands import atomic_file
from edge_app.gallery import cipher
from tests.cli import people

KEY = "a key of some length"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    people.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cipher, "_SCRYPT", {"n": 2, "r": 1, "p": 1, "dklen": 32})  # fast
    return tmp_path


def picture(name, person, **options):
    return str(people.picture(people.Path(name), person, **options))


def run(capsys, *arguments, code=0):
    """The lines on stdout, or the only line on stderr of a mistake."""
    assert main(["gallery", *arguments]) == code
    out, err = capsys.readouterr()
    if code:
        assert out == ""
        assert err.count("\n") == 1, err
        return err.strip()
    return out.splitlines()


def stored(folder, key=None):
    return gallery.load(folder / "state/gallery/face.gallery", key)


def names(folder):
    found = stored(folder)
    return [] if found is None else [person.name for person in found.people]


def enroll(capsys, name, person, count=1):
    pictures = [picture(f"{name}-{i}.png", person, noise=i + 1) for i in range(count)]
    return run(capsys, "add", name, *pictures)


def test_people_are_added_listed_and_removed(folder, capsys):
    assert enroll(capsys, "Ada", 1, 2) == ["Ada: 2 pictures"]
    assert enroll(capsys, "Bob", 2) == ["Bob: 1 pictures"]
    listed = json.loads(run(capsys, "list", "--json")[0])
    assert [(each["name"], each["pictures"], each["kept"]) for each in listed["people"]] == [
        ("Ada", 2, 0),
        ("Bob", 1, 0),
    ]
    assert (folder / "state/gallery/face.gallery").stat().st_mode & 0o777 == 0o600
    assert run(capsys, "remove", "Ada") == ["removed: Ada"]
    assert names(folder) == ["Bob"]
    assert b"Ada" not in (folder / "state/gallery/face.gallery").read_bytes()
    assert run(capsys, "remove", "Bob") == ["removed: Bob"]
    assert list((folder / "state/gallery").iterdir()) == []


def test_more_pictures_are_added_to_a_person(folder, capsys):
    enroll(capsys, "Ada", 1)
    assert "'Ada' is enrolled already; expected another name, or --more" in run(
        capsys, "add", "Ada", picture("b.png", 1, noise=7), code=2
    )
    assert run(capsys, "add", "Ada", "--more", picture("b.png", 1, noise=7)) == ["Ada: 2 pictures"]
    assert "there is nobody with the name 'Adda'; did you mean 'Ada'" in run(
        capsys, "add", "Adda", "--more", picture("c.png", 1, noise=8), code=2
    )


@pytest.mark.parametrize(
    ("gray", "problem"),
    [
        (people.NOBODY, "found no face; expected a picture of one"),
        (people.TWO, "found 2 faces; expected a picture of one"),
        (people.NO_LANDMARKS, "found a face without usable landmarks"),
    ],
)
def test_a_picture_without_exactly_one_usable_face_changes_nothing(folder, capsys, gray, problem):
    enroll(capsys, "Ada", 1)
    before = (folder / "state/gallery/face.gallery").read_bytes()
    good, bad = picture("good.png", 2), picture("bad.png", 2, gray=gray)
    assert f"bad.png: {problem}" in run(capsys, "add", "Bob", good, bad, code=2)
    assert (folder / "state/gallery/face.gallery").read_bytes() == before


def test_a_file_that_is_no_picture_is_one_line(folder, capsys):
    (folder / "text.png").write_text("hello", encoding="utf-8")
    assert "text.png: cannot be decoded" in run(capsys, "add", "Bob", "text.png", code=2)
    assert "none.png: cannot be read: No such file" in run(capsys, "add", "Bob", "none.png", code=2)


def test_a_picture_is_enrolled_once(folder, capsys):
    enroll(capsys, "Ada", 1)
    assert "is enrolled already, of 'Ada'" in run(capsys, "add", "Eve", "Ada-0.png", code=2)
    assert "is the same as another of these pictures" in run(
        capsys, "add", "Eve", *[picture(name, 4) for name in ("x.png", "y.png")], code=2
    )
    assert names(folder) == ["Ada"]


def test_names_a_person_who_is_not_there(folder, capsys):
    assert "nobody with the name 'Ada'; the gallery is empty" in run(capsys, "remove", "Ada", code=2)
    enroll(capsys, "Ada", 1)
    assert "nobody with the name 'Adda'; did you mean 'Ada'" in run(capsys, "remove", "Ada", "Adda", code=2)
    assert names(folder) == ["Ada"]
    assert "expected names of people, or --all" in run(capsys, "remove", code=2)


def test_a_full_disk_loses_nobody(folder, capsys, monkeypatch):
    enroll(capsys, "Ada", 1)

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_file, "replace", full)
    problem = run(capsys, "add", "Bob", picture("bob.png", 2), code=2)
    assert "cannot be written: No space left on device; nothing was changed" in problem
    assert names(folder) == ["Ada"]


def test_a_damaged_file_is_one_line_and_can_be_removed(folder, capsys):
    enroll(capsys, "Ada", 1)
    path = folder / "state/gallery/face.gallery"
    path.write_bytes(path.read_bytes()[:-1])
    for command in (["list"], ["add", "Bob", picture("bob.png", 2)], ["remove", "Ada"], ["test"]):
        assert "face.gallery: is damaged: found another hash" in run(capsys, *command, code=2)
    assert run(capsys, "remove", "--all") == ["removed the gallery"]
    assert not path.exists()


def test_a_key_encrypts_and_a_wrong_one_loses_nothing(folder, capsys, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv("KEY", KEY)
    enroll(capsys, "Ada", 1)
    assert "is not encrypted, but a key is given" in run(capsys, "list", "--key", "env:KEY", code=2)
    assert run(capsys, "encrypt", "--key", "env:KEY") == ["encrypted"]
    before = (folder / "state/gallery/face.gallery").read_bytes()
    assert b"Ada" not in before
    assert "is encrypted; expected its key" in run(capsys, "list", code=2)
    monkeypatch.setenv("KEY", "another key of that length")
    for command in (["list"], ["add", "Bob", picture("bob.png", 2)], ["remove", "Ada"]):
        assert "cannot be decrypted: found another key" in run(capsys, *command, "--key", "env:KEY", code=2)
    assert (folder / "state/gallery/face.gallery").read_bytes() == before
    assert "--key: found 'secret'; expected" in run(capsys, "list", "--key", "secret", code=2)


def test_the_key_of_the_rule_is_used(folder, capsys, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv("KEY", KEY)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(text.replace("frames: 2", 'frames: 2, key: "env:KEY"'), encoding="utf-8")
    enroll(capsys, "Ada", 1)
    assert b"Ada" not in (folder / "state/gallery/face.gallery").read_bytes()
    assert run(capsys, "list")[0].startswith("Ada ")


def test_pictures_are_kept_only_if_asked_for_and_removed_with_the_person(folder, capsys):
    enroll(capsys, "Ada", 1)
    assert stored(folder).people[0].pictures == ()
    run(capsys, "add", "Bob", "--keep-pictures", picture("bob.png", 2))
    run(capsys, "list", "--pictures", "out")
    (kept,) = (folder / "out").iterdir()
    assert kept.read_bytes().startswith(b"\x89PNG")
    run(capsys, "remove", "Bob")
    assert b"PNG" not in (folder / "state/gallery/face.gallery").read_bytes()


def test_people_of_another_model_are_not_mixed(folder, capsys):
    enroll(capsys, "Ada", 1)
    people.write_embedding(folder / "model/face.onnx", batch="n")
    assert "found embeddings of another model" in run(capsys, "add", "Bob", picture("bob.png", 2), code=2)


def test_the_threshold_for_a_rate_of_false_accepts(folder, capsys):
    assert "the gallery is empty" in run(capsys, "test", code=2)
    for person in range(5):
        enroll(capsys, f"p{person}", person, 2)
    assert "found 10 pictures; a rate of 0.01 needs 100 at least" in run(capsys, "test", code=2)
    report = json.loads(run(capsys, "test", "--far", "0.1", "--json")[0])
    assert (report["people"], report["pictures"], report["false_rejects"], report["rank_1"]) == (5, 10, 0, 1)
    assert 0 < report["threshold"] < 0.95
    assert report["false_accepts"] <= 0.1
    text = "\n".join(run(capsys, "test", "--far", "0.1"))
    assert "threshold" in text
    assert "equal error rate  0.00 %" in text


def test_the_threshold_from_a_folder_of_people(folder, capsys):
    for person in range(3):
        for i in range(2):
            picture(f"album/p{person}/{i}.png", person, noise=i + 1)
    picture("album/p0/nobody.png", 0, gray=people.NOBODY)
    assert main(["gallery", "test", "album", "--far", "0.2", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["people"], report["pictures"], report["skipped"]) == (3, 6, 1)
    assert "skipped: album/p0/nobody.png: found no face" in err
    assert names(folder) == []


def test_recognized_people_are_events_of_a_replay(folder, capsys):
    """The documented way, from pictures of people to events."""
    enroll(capsys, "Ada", 1)
    for i, (person, gray) in enumerate([(1, people.ONE)] * 5 + [(1, people.NOBODY)] * 60 + [(3, people.ONE)] * 30):
        picture(f"pictures/{i:03}.png", person, gray=gray, noise=50 + i)
    assert main(["replay", "pictures", "--out", "events.jsonl"]) == 0
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [
        (event["type"], event["value"]["identity"], event["value"].get("reason"))
        for event in events
        if event["kind"] == "event" and event["rule"] == "door"
    ]
    assert told == [("new", "Ada", None), ("end", "Ada", "left"), ("new", None, None), ("end", None, "end_of_clip")]


def test_a_damaged_gallery_ends_a_replay_in_one_line(folder, capsys):
    picture("pictures/0.png", 1)
    path = folder / "state/gallery/face.gallery"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    assert main(["replay", "pictures", "--out", "events.jsonl"]) == 2
    assert "face.gallery: is damaged" in capsys.readouterr().err.splitlines()[-1]


def test_the_head_is_asked_for_if_it_is_not_clear(folder, capsys):
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(text[: text.index("rules:")] + text[text.index("sinks:") :], encoding="utf-8")
    assert run(capsys, "list", "--json")  # the only one
    assert "--head: found 'faces'; expected a head that embeds: face" in run(capsys, "list", "--head", "faces", code=2)


def findings(folder):
    loaded = config.load(folder / "config.yaml")
    return [(found.verdict, found.text) for found in gallery_check.run(loaded)]


def test_check_says_how_many_people_a_rule_knows(folder, capsys):
    assert findings(folder) == [
        ("warn", "door: nobody is enrolled, so everybody is unknown; expected: edge-app gallery add")
    ]
    enroll(capsys, "Ada", 1, 2)
    assert findings(folder) == [("ok", "door: 1 people, 2 pictures")]
    people.write_embedding(folder / "model/face.onnx", batch="n")
    ((verdict, text),) = findings(folder)
    assert (verdict, "found embeddings of another model" in text) == ("fail", True)
    (folder / "state/gallery/face.gallery").write_bytes(b"damaged")
    picture("pictures/0.png", 1)
    assert main(["check"]) == 2
    assert "face.gallery: is damaged" in capsys.readouterr().out


def test_what_root_adds_belongs_to_the_user_of_the_service(folder, capsys):
    if os.geteuid():
        pytest.skip("only root can give a file away")
    (folder / "state").mkdir()
    os.chown(folder / "state", 65534, 65534)
    enroll(capsys, "Ada", 1)
    path = folder / "state/gallery/face.gallery"
    assert {each.stat().st_uid for each in (path, path.parent)} == {65534}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_new_state_dir_is_for_its_owner_alone(folder, capsys):
    enroll(capsys, "Ada", 1)
    assert (folder / "state").stat().st_mode & 0o777 == 0o700
