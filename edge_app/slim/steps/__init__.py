"""Steps that make a trained network smaller. Needs torch.

prune.py   drops channels, in the NPU's blocks, until a share of the cycles is left
"""
