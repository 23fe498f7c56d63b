"""How good a run on the microworld is, measured against the truth of the scenes that its images show."""
