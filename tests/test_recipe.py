"""A faulty recipe is refused before it runs, with one line that says how to fix it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, RecipeError, check, differences, manifests, segments, stage_types
from mminstruct.stage import Stage, fingerprint, identity, part, prompt, runtime, whole
from tests.doing_nothing import NUMBERS, After, Count, Last, Pass, Sum, small
from tests.world import bench, recipe


@dataclass(kw_only=True)
class Wrong(Stage):
    text: str = prompt("x", "caption")
    reads = {"cuont": part("id"), "count": part("idd")}
    writes = NUMBERS
    row_key = "id"


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


def test_a_prompt_that_leaves_out_what_its_stage_hands_in_is_refused_unless_it_says_so() -> None:
    with pytest.raises(
        RecipeError, match=r"recipe\.wrong\.text does not use \{\{ caption \}\}, so the model would not see it"
    ):
        check(Faulty(count=Count(), wrong=Wrong(text="## user\nDescribe it.")))
    with pytest.raises(RecipeError) as refused:
        check(Faulty(count=Count(), wrong=Wrong(text="## user\nDescribe it. {#- without other, caption -#}")))
    assert "wrong.text" not in str(refused.value)


def test_a_prompt_that_is_no_transcript_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"wrong\.text: a prompt starts with a line"):
        check(Faulty(count=Count(), wrong=Wrong(text="just words")))
    with pytest.raises(RecipeError, match=r"wrong\.text: line 2"):
        check(Faulty(count=Count(), wrong=Wrong(text="## user\n{% for %}")))


def test_a_missing_extra_and_a_stages_own_complaint_are_told() -> None:
    with pytest.raises(RecipeError) as refused:
        check(Wanting(count=Count(), needy=Needy(drop=-1)))
    assert "needy.model: m: backend 'nowhere_at_all' is not one of vllm, openai" in str(refused.value)
    assert "recipe.needy.drop is -1" in str(refused.value)


def test_segments_break_only_where_a_stage_needs_everything() -> None:
    assert segments(small()) == [["count", "first", "second"], ["sum", "last"]]


def test_a_whole_read_of_an_earlier_segment_breaks_nothing() -> None:
    @dataclass(kw_only=True)
    class Late(Stage):
        reads = {"second": part("id"), "sum": whole("total")}
        writes = NUMBERS
        row_key = "id"

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


@pytest.mark.parametrize(
    ("stage", "field", "value", "fix"),
    [
        ("ingest", "layout", "zip", "take one of auto, tar"),
        ("ingest", "key", "middle", "take last or first"),
        ("ingest", "formats", ["JPG"], "take any of JPEG"),
        ("ingest", "rows", 0, "must be positive"),
        ("ingest", "pixels", 10**9, "at most 178956970"),
        ("ingest", "columns", {"img": "x"}, "it may name image, url"),
        ("fuse", "on_leak", "keep", "choose caption or drop"),
        ("fuse", "alt_words", 0, "must be 1 or more"),
        ("instruct", "share", 2.0, "at most 1"),
        ("instruct", "per_image", 0, "must be 1 or more"),
        ("instruct", "max_words", 1, "less than min_words"),
        ("instruct", "seeds", [], "must have seeds_shown"),
        ("cluster", "k", 0, "take 1 or more"),
        ("cluster", "backend", "faiiss", "take auto, cuvs"),
        ("cluster", "sample", 1, "take more points, or null for all"),
        ("match", "strategy", "best", "is not one of sample, top1, random"),
        ("match", "per_image", 0, "take 1 to match.top_k"),
        ("match", "temperature", 0.0, "must be above 0; for the nearest take match.strategy=top1"),
        ("match", "cap", 0.5, "take 1 or more"),
        ("match", "eval_unreadable", "skip", "take stop or note"),
        ("exemplify", "per_instruction", 0, "must be 1 or more"),
        ("answer", "shots", -1, "must be 0 or more"),
        ("filter", "rules", ["spam"], "the rules are"),
        ("filter", "languages", ["klingon"], "known are"),
        ("filter", "languages", [], "name at least one"),
        ("select", "phash_bits", 30, "bits from 0 to 16"),
        ("select", "jaccard", 0.1, "from 0.3 to 1, or null to keep all"),
        ("select", "eval_unreadable", "skip", "take stop or note"),
        ("pick", "rows", 0, "take 1 or more"),
        ("pick", "questions", 0, "or null for all"),
        ("pick", "near", 30, "bits from 0 to 16"),
        ("respond", "max_tokens", 0, "take 1 or more"),
        ("respond", "rounds", [9], "earlier has only 4 questions"),
        ("score", "cluster", "kind", "take question_id or instruction_id"),
        ("score", "level", 1.0, "take 0.5 or more, and less than 1"),
        ("score", "truth", "nobody", "is none of referee"),
        ("judge", "baseline", "nobody", "is none of one, one@1, two, two@1"),
    ],
)
def test_a_refusal_names_its_key_as_the_command_line_takes_it(stage: str, field: str, value: object, fix: str) -> None:
    whole = next(one for one in (recipe("nowhere"), bench("nowhere")) if hasattr(one, stage))
    setattr(getattr(whole, stage), field, value)
    with pytest.raises(RecipeError) as refused:
        check(whole, installed=False)
    (line,) = str(refused.value).split("\n")
    assert re.match(rf"recipe\.{stage}\.{field}[=, ]", line)
    assert fix in line


@dataclass(kw_only=True)
class Clash(Recipe):
    method: Count


def test_a_table_cannot_have_the_name_of_what_every_recipe_has() -> None:
    with pytest.raises(ValueError, match=r"Clash\.method: every recipe has an attribute of that name; rename it"):
        stage_types(Clash)
