"""One module per command: its arguments, and a function that imports and runs its work.

run, replay, check, options, status, totals, doctor, outbox, schema   on cameras and hosts
init, compile, tune, bench, slim   on hosts only: a camera's release lacks the demo, or their packages
"""
