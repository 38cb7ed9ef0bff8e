"""Train networks, make them smaller, and prove the result. Host only.

layers.py     the layers of a graph, as the NPUs run them
channels.py   the channels of a graph that can only change together
widths.py     widths that save more cycles than they lose channels
cost.py       the work of `edge-app slim cost`
cost_plot.py  its plot
"""
