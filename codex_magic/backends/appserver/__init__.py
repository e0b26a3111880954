"""The real Codex binary, spoken to as its editor integrations do: JSON-RPC over stdio."""
