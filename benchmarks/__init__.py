"""Figures, each beside its raw baseline from the same run. See README.md in this directory."""
