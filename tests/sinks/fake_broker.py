"""A broker that misbehaves: enough MQTT 3.1.1 to accept, to refuse, and to leave messages unacknowledged."""

import socket
import threading


class FakeBroker:
    """code: of its CONNACK; None: never responds. acks: how many PUBLISH packets it still acknowledges.

    max_bytes: of a packet; it closes the connection on a larger one.
    connects: CONNECT packets, as bytes. published: (topic, payload).
    """

    def __init__(self, code=0, acks=0, max_bytes=1 << 20):
        self.code, self.acks, self.max_bytes = code, acks, max_bytes
        self.connects, self.published = [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._peers = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def peers(self):
        """The connections so far."""
        return list(self._peers)

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        stream = peer.makefile("rb")
        try:
            while head := stream.read(1):
                size = shift = 0
                while True:
                    (byte,) = stream.read(1)
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                if size > self.max_bytes:
                    peer.shutdown(socket.SHUT_RDWR)
                    return
                self._handle(peer, head[0] >> 4, stream.read(size))
        except (OSError, ValueError):
            pass

    def _handle(self, peer, type_, body):
        if type_ == 1:
            self.connects.append(body)
            if self.code is not None:
                peer.sendall(bytes([0x20, 2, 0, self.code]))
        elif type_ == 3:
            length = int.from_bytes(body[:2], "big")
            topic, mid = body[2 : 2 + length].decode(), body[2 + length : 4 + length]
            self.published.append((topic, body[4 + length :]))
            if self.acks > 0:
                self.acks -= 1
                peer.sendall(b"\x40\x02" + mid)
