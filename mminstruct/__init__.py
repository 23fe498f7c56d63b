"""mminstruct: image collections into visual instruction-tuning sets (MM-Instruct, arXiv 2406.19736)."""

__version__ = "0.1.0"
