"""Experiments behind the project's decisions; run from a checkout, not part of the installed package."""
