"""One file per thing that changes a town."""
