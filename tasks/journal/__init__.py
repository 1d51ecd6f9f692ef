"""The record of a release, and the lease of a service."""
