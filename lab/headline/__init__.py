"""MM-Instruct's claim, in small: what a generated set teaches, at equal tokens, in families and wordings it lacks."""
