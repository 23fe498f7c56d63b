"""Readers of outside data, one for each kind: pixels, text, JSON lines, tables, conversations. All code reads through them."""
