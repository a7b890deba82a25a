"""``fumehood self-check``: attacks on sessions of one's own engine, and what held."""
