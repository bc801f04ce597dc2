"""Other counters of MACs: run each in a process of its own, and say where and why they differ.

To add one, write a module in `tools` with its `PEERS`.
"""
