"""Load: whole seasons and storms, driven from outside over HTTP and through `client_sdk`, as customers would."""
