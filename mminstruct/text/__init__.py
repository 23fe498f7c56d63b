"""Text: its characters and words, what a model's reply says, and whether it may be kept."""

from mminstruct.text.characters import cut, one_line, repair, words

__all__ = ["cut", "one_line", "repair", "words"]
