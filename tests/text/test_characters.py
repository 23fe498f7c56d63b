from __future__ import annotations

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from mminstruct.text import cut, repair, words

ANY = st.text(st.characters(), max_size=200)


@given(ANY)
@example("\ud83d\ude00 \ud83d x \udc00")
def test_repaired_text_can_be_stored_and_hides_nothing(text: str) -> None:
    fixed = repair(text)
    fixed.encode()
    assert unicodedata.is_normalized("NFC", fixed)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in fixed if letter not in "\n\t")
    assert not set(fixed) & set("\u200b\ufeff\u202e\u2066\u200f\U000e0041")
    assert repair(fixed) == fixed


def test_repair_joins_surrogates_and_keeps_what_emoji_and_persian_need() -> None:
    assert repair("\ud83d\ude00 \ud83d!") == "😀 !"
    assert repair("👩\u200d🚀 می\u200cخواهم a\u200db") == "👩\u200d🚀 می\u200cخواهم ab"
    assert repair("one\r\ntwo\rthree") == "one\ntwo\nthree"
    assert repair("cafe\u0301") == "café"


def test_words_are_counted_as_people_do() -> None:
    assert words("It's a well-known 2nd café, isn't it?") == ["It's", "a", "well-known", "2nd", "café", "isn't", "it"]
    assert words("一只狗 dog。") == ["一", "只", "狗", "dog"]
    assert words("... !!") == []


@given(ANY, st.integers(0, 20))
def test_a_cut_text_is_a_prefix_with_at_most_the_given_words(text: str, limit: int) -> None:
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert len(words(kept)) == min(limit, len(words(text)))


def test_vowel_signs_belong_to_their_words() -> None:
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert words("സ്റ്റേറ്റ്സ് ദ്വീപുകള്‍") == ["സ്റ്റേറ്റ്സ്", "ദ്വീപുകള്‍"]
    assert words("வணக்கம் உலகம்.") == ["வணக்கம்", "உலகம்"]
    assert words("שָׁלוֹם עולם") == ["שָׁלוֹם", "עולם"]
    assert words("สวัสดี") == ["สวัสดี"]
