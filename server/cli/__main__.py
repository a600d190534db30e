"""`python -m server.cli`: the same command where the script is not on the PATH."""

from server.cli import main

main()
