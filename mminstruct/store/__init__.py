"""The run folder: tables and their parts, paid replies, budget, deletions, the driver's lease."""
