"""Notebooks without a person: ``codex-magic run`` and ``codex-magic strip``."""
