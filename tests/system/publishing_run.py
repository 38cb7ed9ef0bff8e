"""The run that test_power_cut.py records: publishes, delivers now and then, and writes its promises to a file.

    python publishing_run.py STATE_FOLDER MARKS_FILE

Marks, one write each: `put N SEQ`, `kept N` (all up to N are accepted), `delivered N` (from here N may be gone).
"""

import os
import sys
import time
from pathlib import Path

from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox


def main(folder, marks_file):
    marks = os.open(marks_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n):
        return encoder.status(seq, Stamp(n, n, True), {"n": n, "pad": "x" * (n * 37 % 600)})

    n = 0
    for _ in range(2):  # opened twice: the second run starts with the rest of the first
        box = Outbox(Path(folder), ["a", "b"], Limits(max_mb=2), clock, lambda seq, tally: status(seq, -1))
        for round_ in range(14):
            for _ in range(60):
                box.put(lambda seq, n=n: (os.write(marks, f"put {n} {seq}\n".encode()), status(seq, n))[1])
                n += 1
            while box.stats().in_memory:
                time.sleep(0.002)
            os.write(marks, f"kept {n - 1}\n".encode())
            if round_ % 4 == 3:
                for sink in ("a", "b"):
                    items = box.next_batch(sink, 90, 0.0)
                    last = items[-1].position
                    os.write(marks, f"delivered {last - 1}\n".encode())  # positions count from 1
                    box.acknowledge(sink, last, len(items))
        box.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
