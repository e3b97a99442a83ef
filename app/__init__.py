"""A tracking run: options, the loop from source to sinks, signals, and the report of a run."""
