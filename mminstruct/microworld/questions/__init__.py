"""Questions about scenes by domain: they are written, read and judged with one grammar."""
