"""The deterministic simulator: a seed makes a world of towns, devices, people and faults, and everything it does.

The product in it is real: `sync`, the client's application layer over its store in memory, the server's commands and
its edge over stores in memory. What is made up is what surrounds it: time, randomness, the network, disks, processes
and people. `tests.simulation.world` is the place to begin reading.
"""
