"""The version, in one place: the build, the labels on the engine and the CLI read it."""

__version__ = "0.1.0"
