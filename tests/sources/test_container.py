"""_container: complete and truncated video files, with hand-written top-level boxes."""

import time

import pytest

from edge_app.sources._container import missing_bytes

MP4 = (20).to_bytes(4, "big") + b"ftypisom" + bytes(8) + (1).to_bytes(4, "big") + b"mdat" + (116).to_bytes(8, "big")
AVI = b"RIFF" + (32).to_bytes(4, "little") + b"AVI " + bytes(28) + b"RIFF" + (101).to_bytes(4, "little") + b"AVIX"
MKV = bytes.fromhex("1A45DFA3 84 00000000 18538067 01 00000000000064")
UNKNOWN_LENGTH = bytes.fromhex("1A45DFA3 84 00000000 18538067 01 FFFFFFFFFFFFFF") + bytes(50)


@pytest.mark.parametrize(
    ("head", "whole_size"), [(MP4, 20 + 116), (AVI, 40 + 8 + 102), (MKV, 9 + 12 + 100)], ids=["mp4", "avi", "mkv"]
)
@pytest.mark.parametrize("missing", [0, 1, 60])
def test_counts_the_bytes_that_are_missing_from_a_truncated_file(tmp_path, head, whole_size, missing):
    path = tmp_path / "clip"
    path.write_bytes((head + bytes(whole_size))[: whole_size - missing])
    assert missing_bytes(path) == missing


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"no container at all", UNKNOWN_LENGTH, b"RIFF\0\0\0\0AVI " + bytes(20), MP4[:20] + bytes(60)],
    ids=["empty", "short", "text", "recording", "unfinished avi", "box up to the end"],
)
def test_a_file_that_declares_no_size_counts_as_complete(tmp_path, content):
    path = tmp_path / "clip"
    path.write_bytes(content)
    assert missing_bytes(path) == 0


def test_ignores_bytes_after_the_last_box(tmp_path):
    path = tmp_path / "clip"
    path.write_bytes(MP4 + bytes(500))
    assert missing_bytes(path) == 0


def test_a_file_of_many_small_boxes_takes_bounded_time(tmp_path):
    path = tmp_path / "clip"
    path.write_bytes(b"\0\0\0\x08free" * 5_000_000)
    began_s = time.monotonic()
    assert missing_bytes(path) == 0
    assert time.monotonic() - began_s < 5
