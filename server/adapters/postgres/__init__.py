"""PostgreSQL 18: tables by SQLModel, hot paths by set-based SQL through psycopg."""
