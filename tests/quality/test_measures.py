from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from mminstruct import cli
from mminstruct.checksum import seal_text
from mminstruct.microworld import shards
from mminstruct.microworld.catalogue import COLOURS, KINDS
from mminstruct.microworld.families import FAMILIES, applicable
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import statements
from mminstruct.models.model import Model
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.measures import MEASURES, measured
from mminstruct.quality.measures.answers import by_kind, filtering
from mminstruct.quality.measures.instructions import match
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import read_truth
from mminstruct.stage import Drop
from mminstruct.store.tables import Store
from mminstruct.text.rules import RULES
from tests.quality.perfect import PerfectRun, Row


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards.write("datacomp", tmp_path_factory.mktemp("world"), images=16, seed=4242)


@pytest.fixture(scope="module")
def perfect(world: Path) -> PerfectRun:
    return PerfectRun(world, read_truth([world]))


@pytest.fixture(scope="module")
def faultless(perfect: PerfectRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measure]:
    return measures_of(perfect, tmp_path_factory.mktemp("faultless"))


def measures_of(run: PerfectRun, folder: Path) -> dict[str, Measure]:
    judged = judged_run(run, folder)
    titles = ("caption", "fuse", "instruct", "cluster", "summarize", "match", "answer", "whole")
    found = [measure for title in titles for measure in MEASURES[title].measure(judged)]
    return {f"{measure.stage}: {measure.name}": measure for measure in found}


def judged_run(run: PerfectRun, folder: Path) -> JudgedRun:
    return JudgedRun(run.write(folder / "run"), run.known)


def test_a_run_without_a_fault_has_full_marks_in_everything(faultless: dict[str, Measure]) -> None:
    for name, measure in faultless.items():
        if name != "match: ... a random one of the bank would":
            assert measure.value == 1.0, name
            assert measure.high is None or measure.high == pytest.approx(1.0)
            assert measure.low is None or measure.low < 1.0  # a sample without a fault is no certainty
    stages = {measure.stage for measure in faultless.values()}
    assert stages == {"caption", "fuse", "instruct", "cluster", "summarize", "match", "answer", "whole"}


def edit(rows: list[Row], column: str, change: Callable[[Row], str | None]) -> str:
    """Change *column* of the first row for which *change* gives something else; the image."""
    for row in rows:
        new = change(row)
        if new is not None and new != row[column]:
            row[column] = new
            return str(row.get("image_id"))
    raise AssertionError("nothing to spoil")


def caption_fault(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Callable[[PerfectRun], None]:
    def spoil(run: PerfectRun) -> None:
        edit(run.rows["caption"], "caption", lambda row: re.sub(pattern, replacement, row["caption"]))

    return spoil


def absent(run: PerfectRun, image: str) -> str:
    here = {group.kind for group in run.known[image].scene.groups}
    return next(name for name in ("cow", "laptop", "truck", "pizza", "cactus") if name not in here)


def invented_object(run: PerfectRun) -> None:
    edit(run.rows["caption"], "caption", lambda row: f"{row['caption']} You can see a {absent(run, row['image_id'])}.")


def missing_object(run: PerfectRun) -> None:
    """Only the place is left, of a picture without sign and relation."""

    def change(row: Row) -> str | None:
        scene = run.known[row["image_id"]].scene
        plain = not scene.relations and all(group.word is None for group in scene.groups)
        return row["caption"].split(". ")[0] + "." if plain else None

    edit(run.rows["caption"], "caption", change)


def name_lost(run: PerfectRun) -> None:
    captions = {row["image_id"]: row["caption"] for row in run.rows["caption"]}
    edit(run.rows["fuse"], "description", lambda row: captions[row["image_id"]])


def falsehood_taken_over(run: PerfectRun) -> None:
    def change(row: Row) -> str | None:
        alt = run.known[row["image_id"]].alt
        return f"{row['description']} There is a {alt.false_facts[0]}." if alt and alt.false_facts else None

    edit(run.rows["fuse"], "description", change)


def unparsed(run: PerfectRun) -> None:
    run.drops["instruct"] = [Drop(next(iter(run.known)), "instruction_unparsed")]


def unsuitable(run: PerfectRun) -> None:
    def change(row: Row) -> str | None:
        suits = applicable(facts_of(run.known[row["image_id"]].scene))
        return next(family.general for family in FAMILIES.values() if family not in suits)

    riddles = [row for row in run.rows["instruct"] if "riddle" in row["instruction"]]
    edit(riddles[1:], "instruction", change)


def copied(run: PerfectRun) -> None:
    row = run.rows["instruct"][5]
    row["examples"] = ["Sing.", row["instruction"].upper()]


def copy_dropped(run: PerfectRun) -> None:
    run.drops["instruct"] = [Drop(next(iter(run.known)), "instruction_copy")]


def mixed_cluster(run: PerfectRun) -> None:
    run.rows["cluster"][0]["cluster"] = run.rows["cluster"][-1]["cluster"]


def wrong_summary(run: PerfectRun) -> None:
    rows = run.rows["summarize"]
    rows[0]["members"], rows[0]["size"] = rows[1]["members"], rows[1]["size"]


def summary_lost(run: PerfectRun) -> None:
    run.drops["summarize"] = [Drop("77", "summary_unparsed"), Drop("78", "summary_duplicate")]


def wrong_match(run: PerfectRun) -> None:
    row = run.rows["match"][0]
    suits = applicable(facts_of(run.known[row["image_id"]].scene))
    bank = {text["instruction"]: text["instruction_id"] for text in run.rows["summarize"]}
    wrong = next(bank[f.general] for f in FAMILIES.values() if f not in suits and f.general in bank)
    run.rows["match"].append({**row, "pair_id": "wrong", "instruction_id": wrong})


def unused(run: PerfectRun) -> None:
    own = run.rows["summarize"][0]["instruction_id"]
    run.rows["match"] = [row for row in run.rows["match"] if row["instruction_id"] != own]


def bad_form(run: PerfectRun) -> None:
    edit(run.rows["answer"], "answer", lambda row: "No json." if row["answer"].startswith("{") else None)


def false_statement(run: PerfectRun) -> None:
    edit(
        run.rows["answer"],
        "answer",
        lambda row: (
            f"{row['answer']} I see a {absent(run, row['image_id'])}."
            if row["answer"].startswith("Once upon")
            else None
        ),
    )


def other_colour(match: re.Match[str]) -> str:
    return "pink" if match.group() != "pink" else "black"


FAULTS: dict[str, tuple[Callable[[PerfectRun], None], set[str]]] = {
    "colour": (caption_fault(rf"\b(?:{'|'.join(COLOURS)})\b", other_colour), {"caption: colour"}),
    "count": (caption_fault(r"\bone\b", "five"), {"caption: count"}),
    "relation": (caption_fault(r" The [^.]* (?:left of|on|under|behind) [^.]*\.", ""), {"caption: relation"}),
    "word": (caption_fault(r'says "\w+"', 'says "ZZZ"'), {"caption: written words"}),
    "invention": (invented_object, {"caption: object precision"}),
    "omission": (missing_object, {"caption: object recall"}),
    "name": (name_lost, {"fuse: true alt-text facts kept", "fuse: proper names kept"}),
    "falsehood": (falsehood_taken_over, {"fuse: false alt-text facts dropped"}),
    "unparsed": (unparsed, {"instruct: parsed"}),
    "unsuitable": (unsuitable, {"instruct: applicable to the scene"}),
    "copied": (copied, {"instruct: no copy of an example"}),
    "copy dropped": (copy_dropped, {"instruct: no copy of an example"}),
    "mixed": (mixed_cluster, {"cluster: purity by kind"}),
    "summary": (wrong_summary, {"summarize: one general instruction of its members' kind"}),
    "summary lost": (summary_lost, {"summarize: one general instruction of its members' kind"}),
    "match": (wrong_match, {"match: matched instructions that apply"}),
    "unused": (unused, {"match: share of the bank used"}),
    "form": (bad_form, {"answer: verifier passes (format), where the instruction applies",
                        "whole: rows right in every respect"}),
    "false": (false_statement, {"answer: statements about the scene that are true",
                                "whole: rows right in every respect"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_lowers_the_measure_that_it_should_and_no_other_that_is_aimed_at(
    fault: str, perfect: PerfectRun, faultless: dict[str, Measure], tmp_path: Path
) -> None:
    spoil, expected = FAULTS[fault]
    run = copy.deepcopy(perfect)
    spoil(run)
    found = measures_of(run, tmp_path)
    aimed = {name for name, measure in faultless.items() if measure.aim is not None}
    assert {name for name in aimed if found[name].value < faultless[name].value} == expected


def test_right_answers_that_the_filter_lost_are_told(perfect: PerfectRun, tmp_path: Path) -> None:
    run = copy.deepcopy(perfect)
    run.rows["filter"] = run.rows["filter"][1:]
    found = {m.name: m for m in filtering(judged_run(run, tmp_path))}
    kept = found["right answers of the run kept"]
    assert kept.value == pytest.approx(1 - 1 / kept.n)
    assert {f"{rule}: recall" for rule in RULES} <= set(found)


def test_chance_and_the_plain_nearest_are_told_beside_the_matched_ones(
    perfect: PerfectRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = [row["instruction"] for row in perfect.rows["summarize"]]
    haiku = FAMILIES["haiku"].general

    class Nearest:
        """Sees a haiku in every picture."""

        def texts(self, texts: list[str]) -> np.ndarray:
            return np.array([[1.0, 0.0] if text == haiku else [0.0, 1.0] for text in texts], np.float32)

        def images(self, images: list[bytes]) -> np.ndarray:
            return np.array([[1.0, 0.0]] * len(images), np.float32)

    run = judged_run(perfect, tmp_path)
    monkeypatch.setattr(run, "model", lambda table: SimpleNamespace(embed=Nearest))
    found = {m.name: m.value for m in match(run)}
    scenes = [facts_of(known.scene, place=True) for known in perfect.known.values()]
    plants = sum(FAMILIES["haiku"].applies(facts) for facts in scenes)
    assert found["... the plain nearest would"] == plants / len(scenes)
    assert haiku in bank
    assert found["... a random one of the bank would"] == pytest.approx(
        sum(len(applicable(facts)) for facts in scenes) / (len(scenes) * len(bank))
    )


def test_answers_are_told_by_kind_with_the_weakest_first(perfect: PerfectRun, tmp_path: Path) -> None:
    run = copy.deepcopy(perfect)
    spoilt = [row for row in run.rows["answer"] if row["answer"].startswith("{")]
    for row in spoilt:
        row["answer"] = "No."
    first, *others = by_kind(judged_run(run, tmp_path))
    assert (first.name, first.value, first.n) == ("json_objects: right answers", 0.0, len(spoilt))
    assert {measure.value for measure in others} == {1.0}


def test_the_interval_grows_where_what_is_counted_stands_and_falls_together() -> None:
    apart = share("stage", "name", [(n % 2, 1) for n in range(200)])[0]
    together = share("stage", "name", [(10 * (n % 2), 10) for n in range(20)])[0]
    assert apart.value == together.value == 0.5
    assert apart.n == together.n == 200
    assert apart.low is not None
    assert apart.high is not None
    assert together.low is not None
    assert together.high is not None
    assert 2 * (apart.high - apart.low) < together.high - together.low


def test_the_interval_encloses_the_share_and_narrows_with_more_values() -> None:
    [few] = share("stage", "name", [(n % 2, 1) for n in range(100)])
    [many] = share("stage", "name", [(n % 2, 1) for n in range(1000)])
    assert few.value == 0.5
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert 0.38 < few.low < 0.45 < 0.55 < few.high < 0.62
    assert many.high - many.low < (few.high - few.low) / 2
    [one] = share("stage", "name", [(1, 1)])
    assert (one.value, one.low, one.high, one.interval) == (1.0, None, None, "")


def test_nothing_counted_is_no_measure() -> None:
    assert share("stage", "name", []) == []
    assert share("stage", "name", [(0, 0)]) == []


def test_statements_are_counted_one_by_one(perfect: PerfectRun) -> None:
    known = next(known for known in perfect.known.values() if known.scene.groups[0].colour != "red")
    group = known.scene.groups[0]
    noun = KINDS[group.kind].name if group.kind not in ("bread", "scissors", "balloon") else "cow"
    truth = facts_of(known.scene, place=True)
    assert statements("Nothing is said.", truth).said == 0
    tally = statements(f"A red {noun} and a zebra at {known.scene.place}.", truth)
    assert (tally.right, tally.said) == ((2, 3) if noun == group.kind else (1, 2))


def test_the_command_prints_a_page_and_json_and_says_what_is_missing(
    perfect: PerfectRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = perfect.write(tmp_path / "run")
    assert cli.main(["microworld-report", run, "--no-models"]) == 0
    page = capsys.readouterr().out
    assert "| caption | images that got a caption | 1.000 |" in page
    assert "aims are met; without those of the filter, " in page
    assert "\nNo measure: ingest, embed, exemplify, decide, review, merge, export." in page
    assert "The scenes are of world 4242; " in page
    assert cli.main(["microworld-report", run, "--no-models", "--json", "--truth", str(perfect.source)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 16
    assert {measure["met"] for measure in found["measures"]} <= {True, False, None}
    assert cli.main(["microworld-report", run, "--no-models", "--truth", str(tmp_path)]) == 1
    assert "scenes.jsonl is missing" in capsys.readouterr().err
    assert cli.main(["microworld-report", str(tmp_path / "nowhere"), "--no-models"]) == 1
    assert "no run here" in capsys.readouterr().err


def test_a_run_of_another_recipe_is_measured_where_its_tables_allow_and_told_what_is_not(
    perfect: PerfectRun, tmp_path: Path
) -> None:
    other = copy.deepcopy(perfect)
    for name in ("cluster", "summarize", "select"):  # no bank, so nothing that looks instructions up in it
        del other.rows[name]
    other.rows["verify"] = [{"image_id": key, "verdict": "yes"} for key in other.known]
    found, unmeasured = measured(judged_run(other, tmp_path))
    assert {measure.stage for measure in found} == {"caption", "fuse", "instruct"}
    assert {line.partition(" ")[0] for line in unmeasured} == {
        "ingest", "embed", "match", "exemplify", "answer", "filter", "decide", "review", "merge",
        "export", "verify", "by", "origin",
    }  # fmt: skip
    assert "match (needs summarize.instruction_id, summarize.instruction)" in unmeasured


def test_a_table_of_the_same_name_with_other_columns_is_not_measured(perfect: PerfectRun, tmp_path: Path) -> None:
    other = copy.deepcopy(perfect)
    other.rows["fuse"] = [{"image_id": key, "text": "A dog."} for key in other.known]
    found, unmeasured = measured(judged_run(other, tmp_path))
    assert {"fuse", "instruct", "answer"}.isdisjoint(measure.stage for measure in found)
    assert "fuse (needs fuse.description)" in unmeasured
    assert {"caption", "match", "whole", "by kind"} <= {measure.stage for measure in found}


def test_the_model_of_a_measure_is_the_one_that_made_the_table(perfect: PerfectRun, tmp_path: Path) -> None:
    url = perfect.write(tmp_path / "run")
    config = {"models": {"eye": {"name": "micro:clip"}}, "recipe": {"match": {"model": "${models.eye}"}}}
    Store(url).write(seal_text(yaml.safe_dump({"config": config})), "config.yaml")
    run = JudgedRun(url, perfect.known, models=True)
    assert run.model("match") == Model(name="micro:clip")
    assert run.model("answer") is None
    assert JudgedRun(url, perfect.known).model("match") is None


def test_the_calibration_of_ratings_is_the_share_of_right_pairs_at_each_of_them(
    perfect: PerfectRun, tmp_path: Path
) -> None:
    run = copy.deepcopy(perfect)
    bank = {row["instruction_id"]: row["instruction"] for row in run.rows["summarize"]}
    for number, row in enumerate(run.rows["answer"]):
        wrong = number % 4 == 0
        answer = "Twelve purple elephants play chess on the moon." if wrong else row["answer"]
        ids = {name: row[name] for name in ("pair_id", "image_id", "instruction_id")}
        texts = {"kind": "instruction", "question": bank[row["instruction_id"]], "answer": answer}
        run.rows["review"].append(ids | texts)
        rating = None if number % 10 == 9 else 1 if wrong else 5
        run.rows["rate"].append(
            {"pair_id": row["pair_id"], "image_id": row["image_id"], "image_correspondence": rating}
        )
    found = {measure.name: measure.value for measure in MEASURES["rate"].measure(judged_run(run, tmp_path))}
    assert found.pop("pairs with a rating of image_correspondence") == pytest.approx(0.9, abs=0.01)
    assert found == {"right pairs of those rated 1": 0.0, "right pairs of those rated 5": 1.0}
