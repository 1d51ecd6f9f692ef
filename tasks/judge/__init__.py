"""Judges: pure functions from series to a verdict."""
