"""CloudEvents 1.0 of the HTTP sink: the required attributes, binary mode and batched mode."""

import json
import re
from dataclasses import replace

import pytest

from edge_app.sinks import _cloudevents
from edge_app.sinks.http import Sink
from tests.dialects.conftest import recorded
from tests.sinks.http_server import Server

ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")  # CloudEvents, "Attribute Naming Convention"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def sink_on(server, context, **options):
    return Sink(context, url=f"http://127.0.0.1:{server.port}/", **options)


def events_of(request):
    """The events of a request as a CloudEvents receiver reads them: (attributes, data)."""
    _, headers, body = request
    headers = {name.lower(): value for name, value in headers.items()}
    if headers["content-type"] == "application/cloudevents-batch+json":
        assert not any(name.startswith("ce-") for name in headers)
        return [({k: v for k, v in each.items() if k != "data"}, each["data"]) for each in json.loads(body)]
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    return [({**attributes, "datacontenttype": headers["content-type"]}, json.loads(body))]


def check(attributes):
    assert {"id", "source", "specversion", "type"} <= attributes.keys()
    assert attributes["specversion"] == "1.0"
    assert all(ATTRIBUTE.fullmatch(name) for name in attributes)
    assert all(isinstance(value, str) and value for value in attributes.values())


def test_one_message_is_an_event_in_binary_mode(server, context):
    message = next(each for each in recorded() if each.kind == "event" and each.clock_synced)
    sink = sink_on(server, replace(context, source="front door"), cloudevents=True)
    assert sink.send([message]) == [message.id]
    ((attributes, data),) = events_of(server.requests[0])
    check(attributes)
    assert attributes["id"] == message.id
    assert attributes["source"] == "/edge-app/cam-1/front%2520door", "percent-encoded as a URI, and again as a header"
    assert attributes["type"] == "edge-app.event"
    assert attributes["time"] == json.loads(message.payload)["utc"]
    assert data == json.loads(message.payload)
    sink.close()


def test_several_messages_are_a_batch(server, context):
    messages = recorded()
    sink = sink_on(server, context, cloudevents=True)
    sink.send(messages)
    (request,) = server.requests
    events = events_of(request)
    assert [data for _, data in events] == [json.loads(each.payload) for each in messages]
    for (attributes, _), message in zip(events, messages):
        check(attributes)
        assert ("time" in attributes) == message.clock_synced
    sink.close()


def test_publications_of_a_dialect_have_a_subject_and_ids_of_their_own(server, context):
    sink = sink_on(server, context, cloudevents=True, dialect="onvif")
    sink.send(recorded())
    events = events_of(server.requests[0])
    for attributes, _ in events:
        check(attributes)
    ids = [attributes["id"] for attributes, _ in events]
    assert len(events) > 20
    assert len(set(ids)) > 20
    assert all(attributes["subject"].startswith("edge-app/cam-1/onvif-") for attributes, _ in events)
    sink.close()


def test_the_source_is_a_uri_reference():
    assert _cloudevents.source_of("cam-1", "Eingang Süd/\n") == "/edge-app/cam-1/Eingang%20S%C3%BCd%2F%0A"
