"""Operator's tools: they reach Spanner, Pub/Sub and Batch directly, never through the HTTP API."""
