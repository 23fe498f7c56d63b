"""The folder of a run: tables and their parts, paid replies, budget, deletions, the lock of the driver."""
