"""Message numbers are never used twice, even if the file is damaged or missing."""

import os

from edge_app.outbox.sequence import BLOCK, SequenceNumbers


def test_numbers_are_never_used_twice(tmp_path):
    path = tmp_path / "sequence"
    used = []
    for _ in range(5):
        numbers_ = SequenceNumbers(path)
        used += [numbers_.next_number() for _ in range(10)]
    assert used == sorted(set(used))


def test_continues_at_a_random_number_if_the_reservation_is_lost(tmp_path):
    path = tmp_path / "sequence"
    bits = iter([5, 9, 7])
    first = SequenceNumbers(path, lambda n: next(bits)).next_number()
    assert first == 5 * BLOCK
    path.write_bytes(path.read_bytes().replace(b"6", b"7", 1))
    assert SequenceNumbers(path, lambda n: next(bits)).next_number() == 9 * BLOCK, "the checksum does not match"
    assert SequenceNumbers(tmp_path / "none" / "sequence", lambda n: 7).next_number() == 7 * BLOCK


def test_numbers_do_not_need_a_writable_disk(tmp_path):
    numbers_ = SequenceNumbers(tmp_path / "none" / "sequence")
    assert len({numbers_.next_number() for _ in range(3)}) == 3
    assert not os.path.exists(tmp_path / "none")
