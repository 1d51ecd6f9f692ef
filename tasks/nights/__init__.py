"""Nights of releases: what is chosen and why, and the record of it. Needs no Prefect."""
