"""Review by people: who sees which rows, and the pages on which they decide."""
