"""Canonicalisation passes: each changes a model in place without changing its function and says what it did."""
