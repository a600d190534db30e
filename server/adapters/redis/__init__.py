"""Redis: the doorbell. It holds nothing that is truth, may lose everything, and may be away at any time."""
