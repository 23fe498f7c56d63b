"""Readers of everything from outside: pixels, text, JSON, tables, conversations."""
