#!/bin/sh
# Run once by the postgres image, on an empty data directory: the login of the processes that face the network. The
# migrations find the role there and give it its rights; it is no superuser and row-level security binds it.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$(cat "${API_PASSWORD_FILE:-/run/secrets/api_password}")" <<'SQL'
CREATE ROLE tallystick_api LOGIN NOINHERIT NOBYPASSRLS NOSUPERUSER PASSWORD :'password';
SQL
