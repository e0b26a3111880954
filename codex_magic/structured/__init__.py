"""Answers that fit a shape: JSON Schemas as models take them, and values of what models answer."""
