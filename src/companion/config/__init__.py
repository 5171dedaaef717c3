"""The configuration: frozen models of it, the file, the keys that it names, and what notices a change."""
