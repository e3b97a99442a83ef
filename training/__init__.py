"""Training of the bundled weights; no other package imports this one."""
