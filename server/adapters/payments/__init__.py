"""Providers that move money: mobile money, and a sandbox that plays them over real HTTP."""
