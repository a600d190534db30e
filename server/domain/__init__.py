"""Rules that only the server has."""
