"""Trees of files between this machine and a session: what is taken, and where it lands."""
