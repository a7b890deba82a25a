"""Figures that no run here can make again: the origin, which no registry has.

@anvia/sandbox 0.6.0 was built from its public source and measured on 2026-11-23, on a machine of
the same kind (2 CPUs, Docker 20.10.24), alone and not by turns; a raw `docker exec` took 91 ms
there and then. Files were larger: 64 MiB.
"""

from __future__ import annotations

NAME = "@anvia/sandbox 0.6.0"
WHEN = "2026-11-23"

# In the units of the metrics.
MEDIANS: dict[str, float] = {
    "create": 485,
    "destroy": 175,
    "gone": 175,
    "exec": 83.7,
    "crowd": 12.3,
    "write_small": 165,
    "read_small": 73.4,
    "write_large": 178,
    "read_large": 183,
    "flood": 119,
    "flood_memory": 64,
    "memory_few": 5,
}
ENDS: dict[str, object] = {
    "alone: survives": True,
    "alone: call took": 1.0,
    "child: survives": True,
    "escaped: survives": True,
    "usable": True,
    "killed: command survives": True,
    "killed: container is left": True,
    "killed: helpers left": 1,
}
