"""Video clips of events: JPEG images in memory, encoded by a low-priority process after the event.

recorder.py   from frames and events to clips
ring.py       the images in memory
jpeg.py       a frame as JPEG, within a budget of bytes
timeline.py   images at a constant rate
worker.py     the thread that has clips encoded, one at a time
encoders.py   the programs that encode, and running one
encode.py     the process that encodes with PyAV or OpenCV
memory.py     what `edge-app check` plans for them
folder.py     the files, within their size limit

This file imports nothing: the encoding process needs neither numpy nor OpenCV if it has PyAV.
"""
