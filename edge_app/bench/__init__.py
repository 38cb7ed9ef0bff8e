"""Benchmarks, host only: each measures edge-app and an alternative in one run. RESULTS.md holds the figures.

pipeline.py     the whole pipeline against a plain loop (plain_loop.py); passes.py runs both; pipeline_plot.py draws
track.py        the tracker against the `trackers` package, on simulated crowds (crowd.py)
cameras.py      several cameras in one process; camera_pass.py: one pass
outbox.py       the durable queue against persist-queue (outbox_load.py, mosquitto.py); fleet.py: many cameras
reuse/          speed and agreement of reuse against full inference and other methods of equal cost
tune.py         `edge-app tune`: choose the reuse settings of one camera
command_flood.py what 1,000 commands a second of an attacker cost: frames per second with and without them
text_lines.py   lines of text against rapidocr, from its own files
decode.py       CPU time of decoding and suppression in heads
compare.py      two builds of edge-app, in pairs of runs
tables.py       aligned tables and JSON; figures.py: matplotlib figures
"""
