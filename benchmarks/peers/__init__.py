"""The same jobs done with other sandboxes, by turns, on one engine. See `docs/benchmarks.md`."""
