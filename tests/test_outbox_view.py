"""`edge-app outbox`: what is kept, seen from outside."""

import json

import pytest

from edge_app import outbox_view
from edge_app.clock import SystemClock
from edge_app.config import Outbox as Limits
from edge_app.errors import ConfigError
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox


@pytest.fixture
def box(tmp_path):
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq):
        return encoder.status(seq, Stamp(0, 0, True), {})

    made = Outbox(tmp_path, ["a", "b"], Limits(), clock, lambda seq, tally: status(seq))
    for _ in range(60):
        made.put(status)
    items = made.take("a", 20, 0.0)
    made.delivered("a", items[-1].position, 20)
    made.refuse("a", made.take("a", 1, 0.0)[0], "400 Bad Request")
    while made.stats().in_memory:
        pass
    yield made
    made.close()


def test_stats_and_list_beside_a_running_daemon(box, tmp_path):
    while outbox_view.stats(tmp_path).refused == 0:
        pass
    found = outbox_view.stats(tmp_path)
    assert (found.events, found.statuses, found.results) == (0, 60, 0)
    assert found.queued == {"a": 39, "b": 60}
    lines = [json.loads(line) for line in outbox_view.messages(tmp_path)]
    assert [line["seq"] for line in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + 60))
    (refused,) = [json.loads(line) for line in outbox_view.messages(tmp_path, refused=True)]
    assert refused["reason"] == "400 Bad Request"
    assert refused["message"] == lines[20]


def test_drop_needs_the_daemon_to_be_stopped(box, tmp_path):
    with pytest.raises(ConfigError, match="in use by another edge-app"):
        outbox_view.drop(tmp_path)
    box.close()
    assert outbox_view.drop(tmp_path) == 60
    assert list(outbox_view.messages(tmp_path)) == []


def test_nothing_there(tmp_path):
    for look in (outbox_view.stats, outbox_view.drop, lambda folder: list(outbox_view.messages(folder))):
        with pytest.raises(ConfigError, match="there is no outbox"):
            look(tmp_path)


def test_not_an_outbox(tmp_path):
    (tmp_path / "outbox.db").write_bytes(b"noise" * 1000)
    for look in (outbox_view.stats, lambda folder: list(outbox_view.messages(folder))):
        with pytest.raises(ConfigError, match="cannot be read"):
            look(tmp_path)
    with pytest.raises(ConfigError, match="nothing was dropped"):
        outbox_view.drop(tmp_path)
