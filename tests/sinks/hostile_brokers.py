"""Attacks on clients of MQTT, in addition to those of tests/hostile_peers.py, and a peer that waits for no header."""

from __future__ import annotations

import itertools
import random
import socket
import struct
from contextlib import suppress

from tests.hostile_peers import ATTACKS, Connection, HostilePeer, closes_at_once, resets

_CONNACK = b"\x20\x02\x00\x00"
_CHUNK = b"a" * 65536


def header(command: int, length: int) -> bytes:
    """An MQTT packet's fixed header."""
    out = bytearray([command])
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | (128 if length else 0))
        if not length:
            return bytes(out)


def publish(qos: int, mid: int, payload: bytes = b"") -> bytes:
    body = b"\x00\x01t" + (struct.pack("!H", mid) if qos else b"") + payload
    return header(0x30 | qos << 1, len(body)) + body


def connack_only(c: Connection) -> None:
    c.send(_CONNACK)
    c.hold()


def connack_by_the_byte(c: Connection) -> None:
    for byte in _CONNACK:
        c.wait(1.0)
        c.send(bytes([byte]))
    c.hold()


def unknown_connack_code(c: Connection) -> None:
    c.send(b"\x20\x02\x00\xc8")
    c.hold()


def huge_connack(c: Connection) -> None:
    c.send(header(0x20, 200_000_000))
    while True:
        c.send(_CHUNK)


def huge_publish(c: Connection) -> None:
    c.send(_CONNACK + header(0x31, 200_000_000) + b"\x00\x14homeassistant/status")
    while True:
        c.send(_CHUNK)


def packet_by_the_byte(c: Connection) -> None:
    c.send(_CONNACK + header(0x31, 1000))
    while True:
        c.send(b"a")
        c.wait(1.0)


def flood_with_qos_1(c: Connection) -> None:
    c.send(_CONNACK)
    while True:
        c.send(b"".join(publish(1, mid) for mid in range(1, 2000)))


def flood_with_qos_2(c: Connection) -> None:
    c.send(_CONNACK)
    for first in itertools.cycle(range(1, 60_000, 2000)):
        c.send(b"".join(publish(2, mid) for mid in range(first, first + 2000)))


def flood_with_pings(c: Connection) -> None:
    c.send(_CONNACK)
    while True:
        c.send(b"\xd0\x00" * 1000)


def acknowledges_everything_unasked(c: Connection) -> None:
    c.send(_CONNACK)
    while True:
        c.send(b"".join(b"\x40\x02" + struct.pack("!H", mid) for mid in range(1, 2000)))


def malformed_publish(c: Connection) -> None:
    c.send(_CONNACK + b"\x30\x00\x32\x01\xff" * 50)
    c.hold()


def random_packets(c: Connection) -> None:
    rng = random.Random(1)
    c.send(_CONNACK)
    for _ in range(2000):
        c.send(header(rng.randrange(256), size := rng.randrange(30)) + rng.randbytes(size))
    c.hold()


def resets_after_connack(c: Connection) -> None:
    c.send(_CONNACK)
    c.wait(0.05)
    resets(c)


def handshake_by_the_byte(c: Connection) -> None:
    """The start of a TLS record of 16 kB."""
    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 1000:
        c.send(bytes([byte]))
        c.wait(0.03)


MQTT_ATTACKS = (
    connack_only,
    connack_by_the_byte,
    unknown_connack_code,
    huge_connack,
    huge_publish,
    packet_by_the_byte,
    flood_with_qos_1,
    flood_with_qos_2,
    flood_with_pings,
    acknowledges_everything_unasked,
    malformed_publish,
    random_packets,
    resets_after_connack,
)
ALL_ATTACKS = (*ATTACKS, *MQTT_ATTACKS)


class _EagerConnection(Connection):
    def receive_request(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionAbortedError
        return data


class EagerPeer(HostilePeer):
    """Attacks once the client has sent anything, so that it suits every protocol."""

    def _serve(self, accepted: socket.socket) -> None:
        connection = _EagerConnection(accepted, self._protocol, self._stopped)
        with accepted, suppress(OSError):
            if self._attack is not closes_at_once:
                connection.receive_request()
            self._attack(connection)
