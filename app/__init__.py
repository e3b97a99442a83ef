"""What `run_track.py` does: options, the loop from source to sinks, signals, and the report of a run."""
