"""Credentials for the model's host: where they come from, how they stay fresh, how one signs in.

Nothing here knows turns or notebooks. A secret leaves this package only inside a `Credential`.
"""
