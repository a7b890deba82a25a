"""The blocking classes. ``base`` is written by hand; the others by ``scripts/generate_sync.py``."""
