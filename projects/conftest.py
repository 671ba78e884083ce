"""The projects' tests use the fixtures of tas_mm's own."""

from tests.conftest import _deterministic_and_quiet, batch, build, build_tas, logged  # noqa: F401
