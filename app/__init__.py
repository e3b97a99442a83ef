"""A tracking run: options, the loop from source to sinks, the folder of results and its report."""
