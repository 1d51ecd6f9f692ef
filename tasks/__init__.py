"""The verbs of a release, and the parts they use."""
