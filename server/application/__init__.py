"""What the server does, apart from how: commands and queries over ports. No SQL, no HTTP, no clock of its own."""
