"""State of a run: rows of each table, integrity, plan and cost, the path of one row."""
