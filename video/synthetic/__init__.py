"""The rendered street scene: a source with known ground truth that needs no file."""
