"""The benchmark's statistics, and the launcher of standard ones."""
