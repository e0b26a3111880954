"""Turns over the Responses API, without the Codex program."""
