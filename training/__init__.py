"""How the bundled weights were made; nothing imports this package."""
