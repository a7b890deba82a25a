"""Snapshots on their way from one engine to another, in a file."""
