"""Pages of files that were only read are released; the process goes on with the others untouched."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.daemon import mapped_files

SMAPS = """
10000-30000 r-xp 00000000 fe:01 77 /usr/lib/liba.so
Size:                128 kB
Rss:                 100 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
40000-50000 r-xp 00000000 fe:01 78 /usr/lib/relocated code.so
Rss:                  64 kB
Anonymous:             4 kB
50000-60000 rw-p 00010000 fe:01 77 /usr/lib/liba.so
Rss:                  64 kB
Anonymous:             0 kB
60000-70000 r--s 00000000 fe:01 79 /dev/shm/shared
Rss:                  64 kB
Anonymous:             0 kB
70000-80000 r--p 00000000 00:00 0 [vvar]
Rss:                   4 kB
Anonymous:             0 kB
80000-90000 r--p 00000000 fe:01 80 /usr/share/never read
Rss:                   0 kB
Anonymous:             0 kB
90000-a0000 r--p 00000000 fe:01 81 /usr/share/data with spaces
Rss:                   8 kB
Anonymous:             0 kB
"""


def test_finds_the_mappings_that_equal_their_file():
    found = list(mapped_files.unchanged(SMAPS.strip().splitlines()))
    assert found == [(0x10000, 0x20000, 100 << 10), (0x90000, 0x10000, 8 << 10)]


def test_releases_what_was_read_and_it_can_be_read_again(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"abc" * 400_000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        before = mapped[:]
        assert resident(path) > 1_000_000
        assert mapped_files.release() > 1_000_000
        assert resident(path) == 0
        assert mapped[:] == before


def resident(path: Path) -> int:
    lines = Path("/proc/self/smaps").read_text(errors="replace").splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(str(path)))
    return int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) << 10


def test_a_process_with_all_libraries_goes_on():
    pytest.importorskip("onnxruntime")
    script = """
import sys, cv2, numpy as np
from pathlib import Path
from edge_app import config, pipeline
from edge_app.daemon import mapped_files
with pipeline.build(config.load(Path("models/digits/sample.yaml")), replay=True) as running:
    released = 0
    for _ in range(3):
        running.step()
        released += mapped_files.release()
    running.step()
print(released > 10_000_000, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "True\n"


def test_does_nothing_without_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(mapped_files, "_MAPS", tmp_path / "none")
    assert mapped_files.release() == 0
