"""The machinery of the agreement: deciding, chaining, feeding, replaying. It knows modules by their contract."""
