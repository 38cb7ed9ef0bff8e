"""Every network source against hostile peers: a read ends in time, with a SourceError, and memory is bounded."""

from __future__ import annotations

import time

import pytest

from edge_app.errors import SourceError
from tests.hostile_peers import ATTACKS, HostilePeer
from tests.sources import network

MAX_GROWTH_BYTES = 64 << 20  # a hostile peer sends up to 512 MB
CLOSE_S = 2.0


@pytest.mark.parametrize("type_", network.TYPES)
@pytest.mark.parametrize("good_replies", [0, 1])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_read_ends_in_time_and_memory_is_bounded(type_, attack, good_replies):
    with HostilePeer(attack, network.protocol(type_), good_replies=good_replies) as peer:
        source = network.open_source(type_, f"user:canary@127.0.0.1:{peer.port}/live")
        assert source.live is not None, "a network source has limits"
        before_bytes = network.reset_peak()
        started_s = time.monotonic()
        with pytest.raises(SourceError) as caught:
            network.read_until_lost(source)
        read_s = time.monotonic()
        source.close()
        assert read_s - started_s < source.live.hang_after_s
        assert time.monotonic() - read_s < CLOSE_S
    assert network.peak_bytes() - before_bytes < MAX_GROWTH_BYTES
    assert str(caught.value).isprintable()
    assert "canary" not in str(caught.value)
    assert peer.connections


@pytest.mark.parametrize("type_", network.TYPES)
def test_a_silent_name_server_costs_bounded_time(type_, silent_name_server):
    source = network.open_source(type_, f"user:canary@{silent_name_server}/live")
    started_s = time.monotonic()
    with pytest.raises(SourceError, match="no answer to the name lookup in time") as caught:
        network.read_until_lost(source)
    source.close()
    assert time.monotonic() - started_s < source.live.hang_after_s
    assert "canary" not in str(caught.value)
