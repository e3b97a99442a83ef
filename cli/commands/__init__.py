"""The commands of `fairmot`, one module each."""
