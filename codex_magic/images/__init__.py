"""Images that go with a prompt: found by the word a person types, checked, made ready to send."""
