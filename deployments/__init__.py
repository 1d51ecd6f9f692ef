"""Every way a release starts, and the watcher."""
