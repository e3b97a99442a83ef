"""Presets for `--config`."""
