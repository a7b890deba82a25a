"""The engines: the seam that every engine implements, and Docker."""
