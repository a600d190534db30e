"""The replica as an encrypted SQLite file (SQLite3MultipleCiphers through apsw)."""
