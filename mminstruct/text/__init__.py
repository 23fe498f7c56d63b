"""Text processing: characters and words, cleaning of replies, and the checks that drop bad ones."""

from mminstruct.text.characters import cut, one_line, repair, words

__all__ = ["cut", "one_line", "repair", "words"]
