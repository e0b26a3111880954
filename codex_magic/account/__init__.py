"""Signing in and out, and what a person is told of an account, its models and its limits.

The same for every backend, for ``%codex login`` and its like as for ``codex-magic auth``.
"""
