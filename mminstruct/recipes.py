"""The recipes: what runs after what."""

from __future__ import annotations

from dataclasses import dataclass

from mminstruct import schemas
from mminstruct.annotations import FORMATS
from mminstruct.recipe import Method, Recipe
from mminstruct.stage import part
from mminstruct.stages.annotate import Annotate
from mminstruct.stages.answer import Answer
from mminstruct.stages.ask import Ask
from mminstruct.stages.caption import Caption
from mminstruct.stages.cluster import Cluster
from mminstruct.stages.converse import Converse
from mminstruct.stages.decide import Decide
from mminstruct.stages.embed import Embed
from mminstruct.stages.exemplify import Exemplify
from mminstruct.stages.export import Export
from mminstruct.stages.filter import Filter
from mminstruct.stages.fuse import Fuse
from mminstruct.stages.ingest import Ingest
from mminstruct.stages.instruct import Instruct
from mminstruct.stages.judge import Judge
from mminstruct.stages.match import Match
from mminstruct.stages.merge import Merge
from mminstruct.stages.pick import Pick
from mminstruct.stages.rate import Rate
from mminstruct.stages.respond import Respond
from mminstruct.stages.retrieve import Retrieve
from mminstruct.stages.review import Review
from mminstruct.stages.score import Score
from mminstruct.stages.select import Select
from mminstruct.stages.summarize import Summarize
from mminstruct.stages.template import Template
from mminstruct.stages.transcribe import Transcribe
from mminstruct.stages.verify import Verify

COCO_SETS = (*FORMATS, "okvqa")
"""Annotation sets that conf/recipe/coco.yaml limits, whether a run has them or not."""
_TURN = tuple(field.name for field in schemas.TURN)


@dataclass(kw_only=True)
class MMInstruct(Recipe):
    """MM-Instruct (arXiv 2406.19736): generated instructions, matched to images by CLIP, answered by an LLM."""

    method = Method(
        title="MM-Instruct",
        paper="MM-Instruct: Generated Visual Instructions for Large Multimodal Model Alignment, arXiv:2406.19736",
        made=(
            "instructions were generated from images, clustered and summarised into a bank, matched to images by CLIP "
            "similarity, answered by a language model from a detailed description of the image, and filtered"
        ),
        limits=(
            "Instructions, descriptions and answers are machine-generated. The answering model never saw the image, "
            "only its description, so answers may claim what the image does not show. Nobody has read every row."
        ),
        tags=("mm-instruct", "synthetic"),
    )

    ingest: Ingest
    caption: Caption
    fuse: Fuse
    instruct: Instruct
    embed: Embed
    cluster: Cluster
    summarize: Summarize
    match: Match
    exemplify: Exemplify
    answer: Answer
    filter: Filter
    decide: Decide
    review: Review
    rate: Rate
    select: Select
    merge: Merge
    export: Export


@dataclass(kw_only=True)
class Coco(Recipe):
    """COCO-is-all (arXiv 2401.08968): people's annotations of the same images, merged to dialogues; no model."""

    method = Method(
        title="COCO-is-all",
        paper="COCO is ``ALL'' You Need for Visual Instruction Fine-tuning, arXiv:2401.08968",
        made=(
            "people's annotations of the same images, from several published sets, were joined by image, each got the "
            "format phrase of its kind, and the questions about an image were merged to dialogues of mixed formats"
        ),
        limits=(
            "Questions and answers are those of the annotation sets, with their errors and their licences; of several "
            "answers the most frequent one was taken. Evaluation sets may use the same images. Questions of a dialogue "
            "were written apart and do not refer to each other."
        ),
        tags=("coco-is-all",),
    )
    wires = {
        "filter": {"answer": part(*_TURN, of="template"), "summarize": None, "fuse": None},
        "review": {"filter": Review.reads["filter"], "answer": part(*_TURN, of="template"), "summarize": None},
        "merge": {**Merge.reads, "template": part("pair_id", "support")},
    }

    ingest: Ingest
    annotate: Annotate
    template: Template
    filter: Filter
    decide: Decide
    review: Review
    rate: Rate
    select: Select
    merge: Merge
    export: Export

    def check(self) -> None:
        known = {*self.annotate.sets, *COCO_SETS}
        faults = [
            f"merge.{name}.{given}: no annotation set has this name; recipe.annotate.sets has "
            + (", ".join(self.annotate.sets) or "none")
            for name in ("per_origin", "weights")
            for given in getattr(self.merge, name)
            if given not in known
        ]
        if faults:
            raise ValueError("\n".join(faults))


@dataclass(kw_only=True)
class Domains(Recipe):
    """MMInstruct (arXiv 2407.15838): four kinds of questions in domains, from templates, checked by a second model."""

    method = Method(
        title="MMInstruct",
        paper=(
            "MMInstruct: A High-Quality Multi-Modal Instruction Tuning Dataset with Extensive Diversity, "
            "arXiv:2407.15838"
        ),
        made=(
            "each image got the domain that is nearest in CLIP's space, a language model wrote yes-or-no, choice, "
            "short and long questions with answers from a detailed description of the image and templates of the "
            "domain, and a second model kept those that it answered alike"
        ),
        limits=(
            "Descriptions, questions and answers are machine-generated. The models that asked and verified never saw "
            "the image, only its description, so an answer may be wrong where the description is. Nobody has read "
            "every row."
        ),
        tags=("mminstruct", "synthetic"),
    )
    wires = {
        "caption": {"transcribe": part("image_id", "words"), "retrieve": part("image_id", "domain")},
        "filter": {
            "answer": part(*_TURN, of="verify"),
            "summarize": None,
            "fuse": part("image_id", "caption", of="caption", names={"caption": "description"}),
        },
        "review": {"filter": Review.reads["filter"], "answer": part(*_TURN, of="verify"), "summarize": None},
    }

    ingest: Ingest
    retrieve: Retrieve
    transcribe: Transcribe
    caption: Caption
    ask: Ask
    converse: Converse
    verify: Verify
    filter: Filter
    decide: Decide
    review: Review
    rate: Rate
    select: Select
    merge: Merge
    export: Export

    def check(self) -> None:
        if missing := sorted({one.name for one in self.retrieve.domains} - {one.name for one in self.ask.domains}):
            raise ValueError(f"ask.domains lacks {', '.join(missing)}: take the files of recipe.retrieve.domains")


@dataclass(kw_only=True)
class Bench(Recipe):
    """A benchmark: questions, every contestant's answers, the judges' verdicts, what they come to."""

    pick: Pick
    respond: Respond
    judge: Judge
    score: Score

    def check(self) -> None:
        who = self.respond.names(dialogues=self.pick.turns == "all")
        for key, given, known in (
            ("judge.baseline", self.judge.baseline, who), ("score.truth", self.score.truth, sorted(self.judge.judges))
        ):  # fmt: skip
            if given is not None and given not in known:
                raise ValueError(f"{key}={given} is none of {', '.join(known) or 'nobody'}")


RECIPES: dict[str, type[Recipe]] = {"mm_instruct": MMInstruct, "domains": Domains, "coco": Coco, "bench": Bench}
"""Recipes by the name that ``recipe=`` takes."""
