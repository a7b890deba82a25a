"""The tether: one asyncio link to a supervisor, shared by all conversations of a session."""
