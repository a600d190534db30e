"""The server: one FastAPI application, RQ workers and one composition root over the agreement in `sync`."""
