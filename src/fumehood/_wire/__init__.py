"""The tether's wire protocol without any I/O: bytes in, events out (``protocol/PROTOCOL.md``)."""
