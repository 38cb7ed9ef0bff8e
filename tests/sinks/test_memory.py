"""The memory sink keeps the last messages."""

from edge_app.sinks.memory import Sink


def test_keeps_the_last_messages(context, message):
    sink = Sink(context, keep=3)
    for seq in range(5):
        assert sink.send([message(seq)]) == [f"cam-1-{seq}"]
    sink.close()
    assert [m.seq for m in sink.messages] == [2, 3, 4]
