#!/usr/bin/env python3
"""Store the messages of all cameras in PostgreSQL, one row for each id. README.md says how to run several at once.

consumer.py NAME BROKER PORT DATABASE [GROUP]: NAME is unique and constant: the broker keeps what arrives meanwhile.
With a GROUP, the consumers of that group share the messages; without, each stores all, and the rows are the same.
A message is acknowledged after its row is committed. Without the database the process ends; start it again.
"""

import json
import sys
from typing import Any

import paho.mqtt.client as mqtt
import psycopg2

TABLE = "CREATE TABLE IF NOT EXISTS edge_app (id text PRIMARY KEY, device text, kind text, utc timestamptz, body jsonb)"
INSERT = "INSERT INTO edge_app VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING"
name, broker, port, database, *group = sys.argv[1:]
prefix = f"$share/{group[0]}/" if group else ""
connection = psycopg2.connect(database)
connection.autocommit = True
cursor = connection.cursor()
cursor.execute(TABLE)


def subscribe(client: Any, *_: object) -> None:
    client.subscribe([(f"{prefix}edge-app/+/{kind}", 1) for kind in ("event", "result", "status")])


def store(_client: object, _userdata: object, message: Any) -> None:
    try:
        text = message.payload.decode().replace("\\u0000", "")  # jsonb has no such character
        body = json.loads(text)
        cursor.execute(INSERT, [body["id"], body["device"], body["kind"], body["utc"], text])
    except (ValueError, TypeError, KeyError, psycopg2.DataError) as exc:  # else delivered again and again
        print(f"{message.topic}: not a message of a camera: {exc!r}", file=sys.stderr)


version: Any = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []  # paho 2 or 1
Client: Any = mqtt.Client
client = Client(*version, client_id=name, clean_session=False)
client.on_connect, client.on_message = subscribe, store
client.connect(broker, int(port))
client.loop_forever()
