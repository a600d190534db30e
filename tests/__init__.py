"""The proofs. This is a package only so that `tests.support` can be imported; pytest finds the tests by path."""
