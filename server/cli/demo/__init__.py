"""`demo`: an offline day that conflicts on purpose, comes back in the worst order, and is proven to the last penny.

Everything in it is real: servers out of wheels, processes that are killed, replicas on the disk. Each figure that is
printed was counted in this run, and what must come out is compared with it.
"""
