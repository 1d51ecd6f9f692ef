"""Words, values and errors; free of I/O."""
