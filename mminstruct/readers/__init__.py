"""Readers of outside data, one for each kind: pixels, containers, text, tables, conversations. All code uses them."""
