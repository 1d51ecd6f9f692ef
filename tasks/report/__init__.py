"""What happened in a release, for people: one page, and the same as artifacts of its run."""
