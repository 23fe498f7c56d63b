"""Training of the microworld's embedded models: ``python -m lab.teach``."""
