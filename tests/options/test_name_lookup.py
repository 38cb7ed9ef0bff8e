"""A lookup ends in time, whatever the resolver does, and leaves at most one thread for each host."""

import socket
import threading
import time

import pytest

from edge_app.options.name_lookup import Address, Resolver, look_up
from tests.outbox.boxes import until

ADDRESS = Address(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
FAILED_FOR_NOW = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class NameServer:
    """Answers each query with the next answer of a plan; with None it does not answer until `release` is called."""

    def __init__(self, *plan):
        self.plan = list(plan)
        self.queries = 0
        self._released = threading.Event()

    def __call__(self, host, port):
        self.queries += 1
        answer = self.plan.pop(0)
        if answer is None:
            self._released.wait(30)
            answer = [ADDRESS]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self):
        self._released.set()


def test_a_silent_resolver_takes_no_longer_than_the_limit_and_one_thread():
    server = NameServer(None)
    resolver = Resolver(server)
    threads = threading.active_count()
    for _ in range(5):
        began = time.monotonic()
        with pytest.raises(socket.gaierror, match="no answer to the name lookup in time"):
            resolver.look_up("camera.example", 80, 0.05)
        assert time.monotonic() - began < 1
    assert server.queries == 1
    assert threading.active_count() == threads + 1
    server.release()
    until(lambda: threading.active_count() == threads)


def test_a_late_answer_is_used_by_the_next_lookup():
    server = NameServer(None, None)
    resolver = Resolver(server)
    with pytest.raises(socket.gaierror):
        resolver.look_up("camera.example", 80, 0.05)
    server.release()
    until(lambda: resolver._answers)
    assert resolver.look_up("camera.example", 80, 5) == [ADDRESS]


@pytest.mark.parametrize("failure", [None, FAILED_FOR_NOW])
def test_the_last_answer_stands_in_for_a_resolver_that_fails_for_now(failure):
    server = NameServer([ADDRESS], failure)
    resolver = Resolver(server)
    resolver.look_up("camera.example", 80, 1)
    assert resolver.look_up("camera.example", 80, 0.1) == [ADDRESS]
    assert server.queries == 2
    server.release()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(UNKNOWN, "not known"), ([], "no address"), (UnicodeError("label too long"), "not a host name")],
)
def test_an_unknown_name_is_an_error_even_if_it_was_known_before(answer, expected):
    resolver = Resolver(NameServer([ADDRESS], answer))
    resolver.look_up("camera.example", 80, 1)
    with pytest.raises(socket.gaierror, match=expected):
        resolver.look_up("camera.example", 80, 1)


def test_a_slow_host_does_not_delay_another():
    server = NameServer(None, [ADDRESS])
    resolver = Resolver(server)
    with pytest.raises(socket.gaierror):
        resolver.look_up("slow.example", 80, 0.05)
    assert resolver.look_up("quick.example", 80, 1) == [ADDRESS]
    server.release()


def test_the_number_of_kept_answers_is_bounded():
    resolver = Resolver(NameServer(*([ADDRESS] for _ in range(100))))
    for n in range(100):
        resolver.look_up(f"{n}.example", 80, 1)
    assert len(resolver._answers) == 64
    assert ("99.example", 80) in resolver._answers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_needs_no_thread(host):
    started = threading.active_count()
    assert [found.sockaddr[:2] for found in look_up(host, 80, 0.0)] == [(host, 80)]
    assert threading.active_count() == started


def test_looks_up_a_name_of_this_machine():
    assert "127.0.0.1" in [found.sockaddr[0] for found in look_up("localhost", 80, 5)]
