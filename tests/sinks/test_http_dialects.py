"""The HTTP sink with a dialect: elements with the topic and the payload."""

import json
import re

import pytest

from edge_app import dialects
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import decode
from edge_app.sinks.http import Sink
from tests.dialects.conftest import recorded
from tests.sinks.http_server import Server

OTHERS = [name for name in dialects.names() if name != "edge-app"]


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def sink_on(server, context, **options):
    return Sink(context, url=f"http://127.0.0.1:{server.port}/", **options)


@pytest.mark.parametrize("name", OTHERS)
def test_elements_have_the_topic_and_the_payload(name, server, context):
    sink, messages = sink_on(server, context, dialect=name), recorded()
    assert sink.send(messages) == [each.id for each in messages]
    dialect = dialects.build(name, dialects.DialectContext("cam-1", "camera", {}.get))
    expected = [each.topic for message in messages for each in dialect.convert(message)]
    ((_, _, body),) = server.requests
    found = json.loads(body)
    assert {each.keys() == {"topic", "payload"} for each in found} == {True}
    prefix = {"frigate": "frigate/", "onvif": "edge-app/cam-1/"}[name]
    assert len(found) > 20
    assert {each["topic"] for each in found} == {prefix + topic for topic in expected}
    sink.close()


def test_counts_are_numbers_and_a_deleted_property_is_null(server, context):
    for name, topic, kind in (("frigate", r".*/all$", int), ("onvif", r".*ObjectIsLoitering.*", type(None))):
        sink = sink_on(server, context, dialect=name)
        sink.send(recorded())
        payloads = [each["payload"] for each in json.loads(server.requests[-1][2]) if re.match(topic, each["topic"])]
        assert any(isinstance(each, kind) for each in payloads)
        sink.close()


def test_messages_without_a_counterpart_are_delivered_without_a_request(server, context, message):
    sink = sink_on(server, context, dialect="frigate")
    assert sink.send([message(1)]) == ["cam-1-1"]
    assert server.requests == []
    sink.close()


def test_a_batch_that_is_sent_again_is_the_same(server, context):
    sink = sink_on(server, context, dialect="frigate")
    server.answers = [503]
    with pytest.raises(SinkError):
        sink.send(recorded())
    sink.send(recorded())
    first, second = server.requests
    assert first[2] == second[2]
    assert first[1]["Idempotency-Key"] == second[1]["Idempotency-Key"]
    sink.close()


def test_a_message_that_cannot_be_expressed_is_refused(server, context):
    body = json.loads(next(each for each in recorded() if each.kind == "event").payload)
    del body["value"]
    sink = sink_on(server, context, dialect="onvif")
    with pytest.raises(SinkError, match="not a message that this dialect can read") as error:
        sink.send([decode(json.dumps(body).encode())])
    assert not error.value.retry
    assert server.requests == []
    sink.close()


def test_rejects_an_unknown_dialect(server, context):
    with pytest.raises(ConfigError, match="there is no dialect 'onvfi'; did you mean 'onvif'"):
        sink_on(server, context, dialect="onvfi")
