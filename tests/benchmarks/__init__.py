"""Figures of a running Davy, each beside the limit it is held against: ``python -m tests.benchmarks``."""
