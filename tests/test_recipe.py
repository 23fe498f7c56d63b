"""A recipe is refused before it runs, in a line that says how to mend it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, RecipeError, check, differences, manifests, segments
from mminstruct.stage import Stage, fingerprint, identity, part, prompt, runtime, whole
from tests.doing_nothing import NUMBERS, After, Count, Last, Pass, Sum, small


@dataclass(kw_only=True)
class Wrong(Stage):
    text: str = prompt("x", "caption")
    reads = {"cuont": part("id"), "count": part("idd")}
    writes = NUMBERS
    takes = "id"


@dataclass(kw_only=True)
class Faulty(Recipe):
    count: Count
    wrong: Wrong


@dataclass(kw_only=True)
class Needy(Pass):
    model: Model = field(default_factory=lambda: Model(name="m", backend="nowhere_at_all"))

    def check(self) -> None:
        if self.drop < 0:
            raise ValueError(f"drop is {self.drop}: it must not be negative")


@dataclass(kw_only=True)
class Wanting(Recipe):
    count: Count
    needy: Needy


def test_a_good_recipe_passes() -> None:
    check(small())


def test_each_fault_is_told_with_its_mend() -> None:
    wrong = Wrong(text="## user\n{{ captoin }} {{ caption }}")
    with pytest.raises(RecipeError) as refused:
        check(Faulty(count=Count(), wrong=wrong))
    said = str(refused.value).splitlines()
    assert said == [
        "wrong reads table 'cuont', which no earlier stage writes; did you mean 'count'?",
        "wrong reads column count.idd, which count does not write; did you mean 'id'?",
        "recipe.wrong.text uses {{ captoin }}, which this stage does not fill in; it fills in caption",
    ]


def test_a_prompt_that_is_no_transcript_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"wrong\.text: a prompt starts with a line"):
        check(Faulty(count=Count(), wrong=Wrong(text="just words")))
    with pytest.raises(RecipeError, match=r"wrong\.text: line 2"):
        check(Faulty(count=Count(), wrong=Wrong(text="## user\n{% for %}")))


def test_a_missing_extra_and_a_stages_own_complaint_are_told() -> None:
    with pytest.raises(RecipeError) as refused:
        check(Wanting(count=Count(), needy=Needy(drop=-1)))
    assert "needy.model: m: backend 'nowhere_at_all' is not one of vllm, openai" in str(refused.value)
    assert "needy: drop is -1" in str(refused.value)


def test_segments_break_only_where_a_stage_needs_everything() -> None:
    assert segments(small()) == [["count", "first", "second"], ["sum", "last"]]


def test_a_whole_read_of_an_earlier_segment_breaks_nothing() -> None:
    @dataclass(kw_only=True)
    class Late(Stage):
        reads = {"second": part("id"), "sum": whole("total")}
        writes = NUMBERS
        takes = "id"

    @dataclass(kw_only=True)
    class Later(Late):
        reads = {"late": part("id")}

    @dataclass(kw_only=True)
    class Long(Recipe):
        count: Count
        first: Pass
        second: After
        sum: Sum
        late: Late
        later: Later
        last: Last

    recipe = Long(count=Count(), first=Pass(), second=After(), sum=Sum(), late=Late(), later=Later(), last=Last())
    assert segments(recipe)[-2:] == [["late", "later"], ["last"]]


def test_runtime_fields_never_enter_an_identity() -> None:
    @dataclass
    class Thing:
        what: int = 1
        how: str = runtime("a")

    assert identity(Thing(how="b")) == identity(Thing(how="c")) == {"what": 1}
    with pytest.raises(TypeError, match="no stable JSON form"):
        identity(Thing(what=print))  # type: ignore[arg-type]


def test_a_change_moves_the_fingerprints_of_what_follows_and_of_nothing_else() -> None:
    before, after = manifests(small()), manifests(small(drop=3))
    same = {name for name in before if before[name]["fingerprint"] == after[name]["fingerprint"]}
    assert same == {"count"}
    assert differences(before["first"]["config"], after["first"]["config"]) == ["drop: 0 -> 3"]
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_differences_name_the_innermost_field() -> None:
    old, new = {"model": {"name": "a"}, "gone": 1}, {"model": {"name": "b"}, "new": 2}
    assert differences(old, new) == ["gone: 1 -> (absent)", "model.name: 'a' -> 'b'", "new: (absent) -> 2"]
