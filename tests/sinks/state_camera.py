"""A camera's mqtt sink with a state that the test sets: `python -m tests.sinks.state_camera PORT FOLDER RULES`.

RULES is a JSON object: name -> type; `{}` with `"home_assistant": false` switches discovery off. Each line on standard
input is the JSON object of all rules' states; it is confirmed by a line.
"""

import json
import select
import sys
import time
from pathlib import Path

from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.sinks import SinkContext, Surface
from edge_app.sinks.mqtt import Sink
from edge_app.state import StateBoard

DEVICE = "cam 1.ä"
_RETRY_S = 0.5


def main(port, folder, rules):
    board = StateBoard()
    discovered = rules.pop("home_assistant", True)
    heads = {"people": "nanodet", "weather": "classify"}
    labels = {"rules/yard": ("person", "it's {{ 🚗 }}")}
    surface = Surface(labels, {"people": 0.4}, ("float", "int8"), True, ("192.0.2.7", 8080, ""), Path(folder))
    snapshots = Path(folder) / "snapshots"
    snapshots.mkdir(exist_ok=True)
    (snapshots / "event-1.jpg").write_bytes(b"\xff\xd8\xff\xe0 not quite a JPEG")
    context = SinkContext(DEVICE, "mqtt", SystemClock(), rules, heads, "gate", snapshots, board, surface)
    sink = Sink(context, host="127.0.0.1", port=port, home_assistant=discovered, commands=True)
    while True:
        if select.select([sys.stdin], [], [], 0.1)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            board.set(json.loads(line))
            print("set", flush=True)
        try:
            sink.idle()
        except SinkError:
            time.sleep(_RETRY_S)
    sink.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
