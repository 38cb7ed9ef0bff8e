"""The inbox: every command has one answer, and a flood is bounded."""

from __future__ import annotations

from edge_app.commands import Answer, Inbox
from edge_app.commands.inbox import TOO_MANY


class Sender:
    def __init__(self, inbox: Inbox, origin: str = "mqtt") -> None:
        self.answers: list[Answer] = []
        self._inbox, self._origin = inbox, origin

    def send(self, name: str, payload: bytes = b"") -> None:
        self._inbox.submit(self._origin, name, payload, self.answers.append)


def test_passes_commands_on_in_order():
    inbox = Inbox(lambda: 0.0)
    sender = Sender(inbox)
    assert not inbox
    sender.send("rules/a", b"ON")
    sender.send("heads/b", b"OFF")
    assert inbox
    taken = list(inbox.take())
    assert [(each.command.name, each.origin) for each in taken] == [("rules/a", "mqtt"), ("heads/b", "mqtt")]
    assert not inbox
    assert sender.answers == []  # until they are executed


def test_answers_a_rejected_command_with_its_id():
    sender = Sender(Inbox(lambda: 0.0))
    sender.send("rules/a", b'{"value": "perhaps", "id": "7"}')
    (answer,) = sender.answers
    assert answer.body() == {
        "id": "7",
        "command": "rules/a",
        "ok": False,
        "error": "rules/a: found 'perhaps'; expected ON or OFF",
    }


def test_a_flood_is_bounded_and_does_not_lock_the_page_out():
    now = [0.0]
    inbox = Inbox(lambda: now[0])
    flood, page = Sender(inbox), Sender(inbox, "page")
    for i in range(1000):
        now[0] = i / 1000
        flood.send("rules/a", b"ON")
    page.send("rules/a", b"OFF")
    taken = list(inbox.take())
    assert len(taken) == 12
    assert taken[-1].origin == "page"
    assert {answer.status for answer in flood.answers} == {TOO_MANY}
    assert inbox.rejected == len(flood.answers) == 989


def test_commands_that_are_stored_are_rare():
    """Each writes to the flash memory, and waits for the one before it."""
    now = [0.0]
    inbox = Inbox(lambda: now[0])
    sender = Sender(inbox)
    for i in range(200):
        now[0] = i / 2
        sender.send("rules/a", b'{"value": "ON", "persist": true}')
    assert len(list(inbox.take())) == 13  # 10 at once, and one in 30 s
    assert "found too many with persist; expected one in 30 s" in str(sender.answers[-1].error)
    sender.send("rules/a", b"ON")
    assert len(list(inbox.take())) == 1


def test_commands_that_load_a_model_or_the_process_again_are_rare():
    now = [0.0]
    inbox = Inbox(lambda: now[0])
    sender = Sender(inbox)
    for i in range(60):
        now[0] = float(i)
        sender.send("reuse", b"ON" if i % 2 else b"OFF")
    assert len(list(inbox.take())) == 4  # 3 at once, and one in 30 s
    assert "one reload, restart or change of the model in 30 s" in str(sender.answers[-1].error)


def test_waiting_commands_are_bounded():
    now = [0.0]
    inbox = Inbox(lambda: now[0])
    sender = Sender(inbox)
    for i in range(200):
        now[0] = float(i)
        sender.send("rules/a", b"ON")
    assert len(list(inbox.take())) == 40
