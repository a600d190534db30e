"""One folder per technology that a port is kept with."""
