"""Every dialect of the folder converts every recorded message, and whatever names and labels a message has."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app import dialects
from edge_app.dialects import Conversion
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import decode
from tests.dialects.conftest import Script, make, recorded, seen

DIALECTS = dialects.names()


def check(publication):
    """A broker accepts it: a valid topic of at most 65535 bytes, and a payload of bytes."""
    levels = publication.topic.split("/")
    assert all(dialects.is_level(level) for level in levels), publication.topic
    assert len(publication.topic.encode()) < 4096
    assert isinstance(publication.payload, bytes)


def test_the_dialects_are_the_files_of_the_folder():
    assert {"edge-app", "frigate", "onvif"} <= set(DIALECTS)


@pytest.mark.parametrize("name", ["", "Frigate", "../sinks", "\x1b", "frigat"])
def test_rejects_an_unknown_dialect(name):
    with pytest.raises(ConfigError, match="dialect: there is no dialect") as error:
        make(name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", DIALECTS)
def test_every_recorded_message_converts(name):
    conversion = Conversion(make(name))
    published = [each for message in recorded() for each in conversion.of(message)]
    assert published
    for each in published:
        check(each)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_message_that_is_sent_again_is_the_same(name):
    conversion = Conversion(make(name))
    first = [conversion.of(message) for message in recorded()]
    assert [conversion.of(message) for message in recorded()] == first


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=40)
@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_name_and_label_gives_a_valid_topic_or_a_refusal(name, rule, label, source):
    script, dialect = Script(), make(name, {"e1": b"jpeg"}, source)
    messages = [
        script.event(type_, rule_type, f"e{i}", seen(label=label), rule)
        for rule_type in ("zone", "line", "stationary", "custom")
        for i, type_ in enumerate(("new", "update", "end"))
    ]
    messages.append(script.result([seen(label=label)], head=rule))
    try:
        published = [each for message in messages for each in dialect.convert(message)]
    except SinkError as exc:
        refusal = exc
        published = []
    else:
        refusal = SinkError("none", retry=False)
    assert not refusal.retry
    assert str(refusal).isprintable()
    for each in [*published, *dialect.state()]:
        check(each)


@pytest.mark.parametrize("name", [each for each in DIALECTS if each != "edge-app"])
@pytest.mark.parametrize("missing", ["value", "rule_type", "rule", "type", "source", "boot_id"])
def test_an_event_of_another_release_is_refused(name, missing, script):
    body = json.loads(script.event("new", "zone", "e1", seen()).payload)
    broken = decode(json.dumps({k: v for k, v in body.items() if k != missing}).encode())
    conversion = Conversion(make(name))
    for _ in range(2):
        with pytest.raises(SinkError, match="cam-1-1: not a message that this dialect can read: KeyError") as error:
            conversion.of(broken)
        assert not error.value.retry


@pytest.mark.parametrize("name", DIALECTS)
def test_events_that_never_end_take_bounded_memory(name):
    script, dialect = Script(), make(name)
    message = script.event("new", "zone", "e", seen())
    body = json.loads(message.payload)
    sizes = []
    for n in range(900):
        body["event_id"], body["value"]["track_id"] = f"e{n}", 1000 + n
        body["value"]["label"] = f"label {1000 + n}"
        sizes.append(sum(len(each.payload) for each in dialect.convert(decode(json.dumps(body).encode()))))
    assert max(sizes[800:]) <= max(sizes[400:500])
    assert len(dialect.state()) < 1000
