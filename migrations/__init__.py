"""The history of the schema, by Alembic: expand before the code ships, contract after."""
