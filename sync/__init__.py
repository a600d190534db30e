"""The agreement: what a device and the server must both hold to, free of I/O, clocks and randomness."""
