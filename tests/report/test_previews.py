"""What a preview shows of a table."""

from __future__ import annotations

from mminstruct.report.previews import Row, Shown, _texts, as_text, page


def test_numbers_and_truths_of_a_table_without_texts_are_shown_even_if_they_are_nothing() -> None:
    row = {"cluster": 0, "agrees": False, "distance": 0.123456, "reason": None, "rules": ["a", "b"]}
    assert _texts(row, list(row)) == {"cluster": "0", "agrees": "False", "distance": "0.1235", "rules": "a\nb"}


def test_rows_made_from_the_same_are_in_the_order_of_their_numbers_and_hostile_texts_stay_texts() -> None:
    rows = [Row(id_, texts={"answer": "<script>x</script>"}) for id_ in ("a (10)", "a (2)", "a")]
    variants = [Shown([word], rows, 0, []) for word in ("same", "other")]
    shown = page("answer", variants)
    assert shown.index(">a<") < shown.index(">a (2)<") < shown.index(">a (10)<")
    assert "<script>" not in shown
    assert "3 rows kept, 0 dropped" in as_text(variants)
