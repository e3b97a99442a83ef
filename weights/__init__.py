"""The bundled model, and how it was made (README.md)."""
