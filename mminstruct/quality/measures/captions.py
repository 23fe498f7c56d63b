"""Measures of captions, and of descriptions fused from captions and alt-texts."""

from __future__ import annotations

from mminstruct.microworld.language import read_facts
from mminstruct.microworld.oracle import judge_caption, judge_fuse
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun


def caption(run: JudgedRun) -> list[Measure]:
    """Precision and recall of what captions say.

    Colour and count are measured on correctly named things, relation and words on all that are there. Omissions count
    as errors.
    """
    judged = [judge_caption(text, run.truth[key].scene) for key, text in run.captions.items() if key in run.truth]

    def of(aspect: str, part: str, whole: str, whole_of: str | None = None) -> list[tuple[float, float]]:
        return [(getattr(tally[aspect], part), getattr(tally[whole_of or aspect], whole)) for tally in judged]

    ingested = [row["image_id"] for row in run.rows("ingest", "image_id")]
    return [
        *share("caption", "images that got a caption", ((key in run.captions, 1) for key in ingested)),
        *share("caption", "object precision", of("objects", "right", "said"), 0.95),
        *share("caption", "object recall", of("objects", "right", "true"), 0.90),
        *share("caption", "colour", of("colour", "right", "right", "objects"), 0.95),
        *share("caption", "count", of("count", "right", "right", "objects"), 0.90),
        *share("caption", "relation", of("relation", "right", "true"), 0.80),
        *share("caption", "relations said that are there", of("relation", "right", "said")),
        *share("caption", "written words", of("words", "right", "true"), 0.70),
        *share("caption", "words said that are there", of("words", "right", "said")),
        *share("caption", "setting", of("setting", "right", "true")),
    ]


def fuse(run: JudgedRun) -> list[Measure]:
    """Share of true alt-text facts that a description keeps, and of false ones that it drops.

    Only images with an alt-text count. Errors that the caption already had are not counted again.
    """
    kept, names, refused, caption_kept, clean = [], [], [], [], []
    for key, text in run.descriptions.items():
        alt = run.truth[key].alt if key in run.truth else None
        if alt is None:
            continue
        scene, seen, read = run.truth[key].scene, read_facts(run.captions[key]), read_facts(text)
        there = {*(mention.kind for mention in read.mentions), *read.places}
        before = {mention.kind for mention in seen.mentions}
        kept.append((sum(fact in there for fact in alt.true_facts), len(alt.true_facts)))
        if scene.place in alt.true_facts:
            names.append((scene.place in read.places, 1))
        news = [fact for fact in alt.false_facts if fact not in before]
        refused.append((sum(fact not in there for fact in news), len(news)))
        verdict = judge_fuse(text, run.captions[key], alt, scene)
        caption_kept.append((verdict.caption_kept == 1.0, 1))
        clean.append((not verdict.invented, 1))
    return [
        *share("fuse", "true alt-text facts kept", kept, 0.85),
        *share("fuse", "proper names kept", names, 0.85),
        *share("fuse", "false alt-text facts dropped", refused, 0.85),
        *share("fuse", "texts that keep all of the caption", caption_kept),
        *share("fuse", "texts that add nothing of their own", clean),
    ]
