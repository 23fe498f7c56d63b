"""Readers of outside data, one for each kind: pixels, text, JSON lines, tables, conversations; all code uses them."""
