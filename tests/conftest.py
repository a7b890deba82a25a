"""What holds for every test: how hypothesis works, what may not be left behind."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fumehood",
    # No wall-clock time is asserted anywhere, an example's neither.
    deadline=None,
    # Session fixtures (a compiled program) serve all examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fumehood"))
