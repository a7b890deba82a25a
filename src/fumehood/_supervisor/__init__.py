"""The supervisor's binary: which one, and how it gets onto an engine."""
