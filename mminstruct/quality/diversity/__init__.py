"""How varied the instructions of a run are, beside those of other sets."""
