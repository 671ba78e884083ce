"""The projects' tests use the fixtures and hooks of tas_mm's own."""

from tests.conftest import (  # noqa: F401
    _deterministic_and_quiet,
    batch,
    build,
    build_tas,
    logged,
    pytest_collection_finish,
    pytest_collectstart,
)
