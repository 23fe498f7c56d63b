from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from lab import ablations, variants
from lab.ablations import page
from lab.outcomes import differs, effective_kinds, kinds_difference, outcome, right_rows
from lab.verdicts import SCALES, verdict, verdicts
from mminstruct import schemas
from mminstruct.microworld import shards
from mminstruct.microworld.language import caption
from mminstruct.microworld.oracle import Tally, judge_caption
from mminstruct.microworld.scene import draw_scene
from mminstruct.quality import report
from mminstruct.quality.truth import ImageTruth, read_truth
from mminstruct.recipe import manifests
from mminstruct.recipes import MMInstruct
from mminstruct.stage import StageOutput
from mminstruct.stages.answer import Answer
from mminstruct.stages.caption import Caption
from mminstruct.stages.cluster import Cluster
from mminstruct.stages.decide import Decide
from mminstruct.stages.embed import Embed
from mminstruct.stages.exemplify import Exemplify
from mminstruct.stages.export import Export
from mminstruct.stages.filter import Filter
from mminstruct.stages.fuse import Fuse
from mminstruct.stages.ingest import Ingest
from mminstruct.stages.instruct import Instruct
from mminstruct.stages.match import Match
from mminstruct.stages.merge import Merge
from mminstruct.stages.rate import Rate
from mminstruct.stages.review import Review
from mminstruct.stages.select import Select
from mminstruct.stages.summarize import Summarize
from mminstruct.text.rules import RULES
from tests.quality.perfect import PerfectRun
from tests.stages.doubles import Scripted, dataset, prompt_text


@pytest.fixture(scope="module")
def recipe() -> MMInstruct:
    model = Scripted()
    return MMInstruct(
        ingest=Ingest(path="here"),
        caption=Caption(model=model, prompt=prompt_text("caption")),
        fuse=Fuse(model=model, prompt=prompt_text("fuse")),
        instruct=Instruct(model=model, prompt=prompt_text("instruct"), seeds=["Sing a song.", "Dance.", "Paint it."]),
        embed=Embed(model=model),
        cluster=Cluster(k=60),
        summarize=Summarize(model=model, prompt=prompt_text("summarize")),
        match=Match(model=model),
        exemplify=Exemplify(model=model, prompt=prompt_text("exemplify")),
        answer=Answer(model=model, prompt=prompt_text("answer")),
        filter=Filter(),
        decide=Decide(),
        review=Review(),
        rate=Rate(reader=model, viewer=model, prompt=prompt_text("rate")),
        select=Select(),
        merge=Merge(),
        export=Export(),
    )


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> PerfectRun:
    known = {f"{index:016x}": ImageTruth(draw_scene(index, 4242)) for index in range(12)}
    return PerfectRun(tmp_path_factory.mktemp("none"), known)


def test_every_variant_changes_the_end_and_keeps_all_tables_before_what_it_changes(recipe: MMInstruct) -> None:
    base = manifests(recipe)
    first = {}
    for name, one in variants.variants(recipe, [Path("world")]).items():
        made = manifests(one)
        changed = [table for table in made if made[table]["fingerprint"] != base[table]["fingerprint"]]
        assert changed[-1] == "export"
        after = [table for table in list(base)[list(base).index(changed[0]) :] if table != "decide"]  # a source
        assert changed == after or changed[0] in ("caption", "exemplify", "answer")
        first[name] = changed[0]
    assert first == {
        "as built, seed + 1": "instruct",
        "as built, seed + 2": "instruct",
        "as built, seed + 3": "instruct",
        "no clustering": "summarize",
        "k = 10 (for 50 of the paper's size)": "cluster",
        "k = 30 (for 150 of the paper's size)": "cluster",
        "k = 120 (for 600 of the paper's size)": "cluster",
        "match: random": "match",
        "match: top-1": "match",
        "match: sampled, no prices": "match",
        "0 exemplars": "answer",
        "1 exemplars": "answer",
        "5 exemplars": "exemplify",
        "no fuse": "fuse",
        "captions: half wrong": "caption",
        "captions: the truth": "caption",
        "descriptions of other images": "answer",
        "no filter rules": "filter",
        **{f"filter without {rule}": "filter" for rule in RULES},
    }


def test_exemplars_by_the_answerer_are_a_variant_only_where_another_model_writes_them(recipe: MMInstruct) -> None:
    assert "exemplars by the answerer" not in variants.variants(recipe, [Path("world")])
    other = copy.deepcopy(recipe)
    other.exemplify.model = Scripted(name="a stronger one")
    one = variants.variants(other, [Path("world")])["exemplars by the answerer"]
    assert one.exemplify.model == other.answer.model


def test_blind_answers_are_written_from_the_description_of_another_image() -> None:
    model = Scripted(script=lambda messages, seed: f"Seen: {messages[-1]['content']}")
    stage = variants.Blind(of=Answer(model=model, prompt=prompt_text("answer"), shots=0))
    bank = pa.table({"instruction_id": ["q"], "instruction": ["Describe it."]})
    none = pa.table(
        {name: pa.array([], pa.string()) for name in ("image_id", "instruction_id", "description", "answer")}
    )
    load = stage.load(exemplify=dataset(none), summarize=dataset(bank))
    match = pa.table({"pair_id": ["1", "2", "3"], "image_id": ["a", "b", "c"], "instruction_id": ["q"] * 3})
    fuse = pa.table({"image_id": ["a", "b", "c"], "description": ["A cat.", "A dog.", "A boat."]})
    out = load(match=match, fuse=fuse)
    assert isinstance(out, StageOutput)
    texts = out.table["answer"].to_pylist()
    assert [other in text for other, text in zip(["A dog.", "A boat.", "A cat."], texts, strict=True)] == [True] * 3
    assert not any(own in text for own, text in zip(["A cat.", "A dog.", "A boat."], texts, strict=True))


def test_half_wrong_captions_are_wrong_in_about_half_of_what_they_say_and_the_same_every_time() -> None:
    total: dict[str, Tally] = {}
    for index in range(300):
        scene = draw_scene(index)
        text = variants.half_wrong(caption(scene), f"image {index}")
        assert text == variants.half_wrong(caption(scene), f"image {index}")
        for aspect, tally in judge_caption(text, scene).items():
            total[aspect] = total.get(aspect, Tally()) + tally
    assert 0.4 < total["objects"].precision < 0.6
    assert 0.15 < total["colour"].recall < 0.4  # the thing and its colour must both be right
    assert total["setting"].precision == total["words"].precision == 1


def test_the_captions_of_a_half_wrong_run_are_those_of_its_model_spoilt() -> None:
    said = "It shows two red dogs and one blue car. The two red dogs are left of the blue car."
    model = Scripted(script=lambda messages, seed: said)
    stage = variants.HalfWrong(of=Caption(model=model, prompt=prompt_text("caption")))
    ingest = pa.table({"image_id": [f"i{n}" for n in range(20)], "image": [b"\xff\xd8"] * 20})
    out = stage.load()(ingest=ingest)
    assert isinstance(out, StageOutput)
    texts = out.table["caption"].to_pylist()
    assert texts == [variants.half_wrong(said, f"i{n}") for n in range(20)]
    assert len(set(texts)) > 10


def test_true_captions_are_written_from_the_scenes(tmp_path: Path) -> None:
    world = shards.write("coco", tmp_path / "world", images=2, seed=7)
    known = read_truth([world])
    ingest = pa.table({"image_id": [*known, "another"]})
    out = variants.TrueCaption(folders=[str(world)]).load()(ingest=ingest)
    assert isinstance(out, StageOutput)
    assert out.table["caption"].to_pylist() == [caption(draw_scene(index, 7)) for index in range(2)]
    assert [drop.id for drop in out.drops] == ["another"]


def test_without_clustering_the_bank_is_each_distinct_raw_instruction() -> None:
    rows = [{"instruction_id": key, "image_id": "i", "instruction": text, "examples": []}
            for key, text in (("b", "Sing."), ("a", "Dance."), ("b", "sing"))]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=schemas.INSTRUCT)
    out = variants.RawBank().load(instruct=dataset(table))()
    assert isinstance(out, StageOutput)
    bank = [(row["instruction_id"], row["instruction"]) for row in out.table.to_pylist()]
    assert bank == [("a", "Dance."), ("b", "Sing.")]


def test_a_run_without_a_fault_comes_out_right_and_a_spoilt_one_is_starred(
    perfect: PerfectRun, recipe: MMInstruct, tmp_path: Path
) -> None:
    base = outcome("as built", perfect.write(tmp_path / "base"), perfect.known)
    assert {m for counts in base.counts.values() for m in (a / b for a, b in counts.values())} == {1.0}
    assert base.rows == len(perfect.rows["select"])
    assert base.used == 1.0
    spoilt = copy.deepcopy(perfect)
    for row in spoilt.rows["answer"][::3]:
        row["answer"] = ""
    spoilt.rows["select"] = spoilt.rows["select"][2:]
    worse = outcome("worse", spoilt.write(tmp_path / "worse"), perfect.known)
    assert differs(worse.counts["answer right"], base.counts["answer right"])
    assert not differs(worse.counts["match applies"], base.counts["match applies"])
    assert not differs(base.counts["answer right"], base.counts["answer right"])
    lines = page([base, worse], 12, recipe).splitlines()
    [last] = [line for line in lines if line.startswith("| worse")]
    assert last.count(" *") >= 2
    assert not [line for line in lines if line.startswith("- No fuse:")]
    named = page([base, dataclasses.replace(worse, name="no fuse")], 12, recipe)
    assert "- No fuse: the description is the caption" in named
    assert "- No clustering:" not in named
    assert [line for line in lines if re.match(r"\| as built \| 1\.000 \(0\.\d+ to 1\.000\) \|", line)]
    chance = dataclasses.replace(worse, name=f"{variants.AGAIN}1")
    lines = page([base, chance, worse], 12, recipe).partition("## What pays")[0].splitlines()
    assert not [line for line in lines if line.startswith("|") and " *" in line]


def test_a_choice_pays_or_hurts_only_where_the_interval_and_the_seeds_say_so(
    perfect: PerfectRun, tmp_path: Path
) -> None:
    base = outcome("as built", perfect.write(tmp_path / "base"), perfect.known)
    spoilt = copy.deepcopy(perfect)
    for row in spoilt.rows["answer"][::2]:
        row["answer"] = ""
    worse = outcome("no filter rules", spoilt.write(tmp_path / "worse"), perfect.known)
    share, of_images, kinds = SCALES
    assert (share.value(base), share.value(worse)) == (
        1,
        sum(a for a, _ in worse.counts["rows right"].values()) / base.rows,
    )
    assert of_images.value(base) == pytest.approx(100 * base.rows / len(right_rows(base)))
    for scale in (share, of_images):
        assert verdict(scale, base, worse, [base]) == "pays"
        assert verdict(scale, worse, base, [worse]) == "hurts"
        assert verdict(scale, base, base, [base]) == "no difference found"
    assert verdict(kinds, base, worse, [base]) == "no difference found"  # the same rows, with worse answers
    another = dataclasses.replace(worse, bank_digest="another bank")
    assert verdict(share, base, another, [base]) == "pays"
    assert verdict(share, base, another, [base, worse]) == "no difference found"
    assert verdicts([base], 12) == []
    [line] = [line for line in verdicts([base, worse], 12) if line.startswith("| the filter")]
    assert line.count("**pays**") == 2
    assert line.count("no difference found") == 1


def test_effective_kinds_are_the_number_of_equally_frequent_ones(perfect: PerfectRun, tmp_path: Path) -> None:
    base = outcome("as built", perfect.write(tmp_path / "base"), perfect.known)
    even = dataclasses.replace(base, families={f"i{n}": {"haiku": 2, "diary": 2, "menu": 2} for n in range(9)})
    one = dataclasses.replace(base, families={f"i{n}": {"haiku": 6} for n in range(9)})
    assert effective_kinds(even) == pytest.approx(3)
    found = kinds_difference(even, one)
    assert (found.value, found.low, found.high) == tuple([pytest.approx(2)] * 3)
    assert kinds_difference(one, dataclasses.replace(base, families={})).value is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        ablations.load(str(tmp_path))


def test_a_real_run_is_built_again_without_filter_rules_and_reported_on(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(demo), "--to", str(tmp_path), "--only", "no filter rules"]
    assert ablations.main(words) == 0
    said = capsys.readouterr()
    assert "no filter rules: 10 of 16 tables taken over" in said.err
    assert [line.split(" | ")[0] for line in said.out.splitlines() if line.startswith("| ")] == [
        "| variant", "| as built", "| no filter rules", "| choice", "| the filter",
    ]  # fmt: skip
    assert json.loads((tmp_path / "ablations.json").read_text())[1]["rows"] > 0
    found = report.report(str(demo))
    assert found.images == 48
    names = {measure.name for measure in found.measures}
    assert "... the plain nearest would" in names
    assert "true statements, wordings never trained on, no exemplars" in names
    assert "| no filter rules |" in report.as_markdown(found, (tmp_path / "ablations.md").read_text())
