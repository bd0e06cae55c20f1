"""The slow proofs stand on the same parts as the integration tests."""

from tests.integration.conftest import batch_server, wire, wired  # noqa: F401 - fixtures are found by name
