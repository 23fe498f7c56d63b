"""Measures how the rule ``cut`` finds texts that a model stopped writing, by form, and its false alarms.

    python -m benchmarks.cuts [--answers 2000] [--docs 20000]

Cuts: answers of the families on scenes and in wordings of no training, cut after a random word of their last line, and
after a random character of the second half. A cut that leaves a whole text (a list without its last item) counts too.
Whole texts: the same answers untouched; handwritten answers of many forms (``tests/text``); short answers, reasons and
captions of the microworld's annotations, captions without their full stop (of 15 words and more, none has one but cut
ones); names; paragraphs of documentation of the installed packages that end as prose does, and their headings.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from benchmarks.replies import paragraphs, translations
from mminstruct.microworld.annotated.descriptions import captions, paragraph
from mminstruct.microworld.annotated.questions import questions
from mminstruct.microworld.families import classify
from mminstruct.microworld.scene import draw_scene
from mminstruct.quality.injected_faults import drawn_answers
from mminstruct.quality.measure import share
from mminstruct.text.rules import RULES, Context
from tests.text.replies import PASSES
from tests.text.test_rules import GOOD

FORMS = {
    "haiku": "verse", "json_objects": "JSON", "table": "table", "packing_list": "bullets", "email": "letter",
    "title_tags": "labels", "furniture_listing": "labels", "riddle": "labels", "quiz": "labels", "dialogue": "dialogue",
    "slogan": "one phrase", "alt_text": "one phrase", "tweet": "one phrase", "summary": "one phrase",
    **dict.fromkeys(("recipe", "pet_care", "gardening", "tool_safety", "day_plan", "drawing_steps"), "numbered list"),
}  # fmt: skip
"""Forms of the families' answers; the others are prose."""


def at_word(text: str, rng: random.Random) -> str | None:
    """*text* cut after a word of its last line, 2 words at least."""
    last = text.rsplit("\n", 1)[-1].split(" ")
    places = [n for n in range(2, len(last)) if last[n - 1][-1:].isalnum()]
    return text[: len(text) - len(" ".join(last))] + " ".join(last[: rng.choice(places)]) if places else None


def anywhere(text: str, rng: random.Random) -> str | None:
    """*text* cut after a character of its second half."""
    return text[: rng.randrange(len(text) // 2, len(text) - 1)].rstrip() or None


def found(text: str, context: Context) -> bool:
    return RULES["cut"](text, context) is not None


def row(name: str, hits: Iterable[bool]) -> str:
    [measure] = share("", name, [(hit, 1) for hit in hits]) or [None]
    return "" if measure is None else f"| {name} | {measure.n:,} | {measure.value:.3f} | {measure.interval} |"


def short_texts(scenes: int) -> Iterator[str]:
    """Answers and captions as annotators give them, most without a full stop."""
    for index in range(scenes):
        scene = draw_scene(index, 1000)
        for asked in questions(scene):
            yield from (asked.answer, *asked.wrong, *asked.why)
        for text in captions(scene):
            if len(text.split()) < 15:
                yield from (text, text.rstrip("."), text.rstrip(".").lower())
        yield paragraph(scene)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--docs", type=int, default=20_000)
    options = parser.parse_args()
    good = drawn_answers(options.answers)
    for name, cutter in (("after a word of the last line", at_word), ("anywhere", anywhere)):
        by: dict[str, list[bool]] = {}
        for number, (text, context) in enumerate(good):
            short = cutter(text, random.Random(f"{name} {number}"))
            if short:
                by.setdefault(FORMS.get(str(classify(context.instruction)), "prose"), []).append(found(short, context))
        print(f"\n| cut {name} | n | found | 95 % interval |\n|---|---|---|---|")
        for form, hits in sorted(by.items()):
            print(row(form, hits))
        print(row("all", [hit for hits in by.values() for hit in hits]))
    pieces = [text for _, text in paragraphs(options.docs)]
    whole = {
        "answers of the families": good,
        "handwritten answers": [(text, Context(instruction=asked)) for asked, text in (*PASSES, *GOOD)],
        "short answers and captions": [(text, Context()) for text in sorted(set(short_texts(300)))],
        "names in English": [
            (text, Context()) for text in sorted({text for _, text in translations()}) if text.isascii()
        ],
        "paragraphs of documentation": [(text, Context()) for text in pieces if re.search(r"[a-z][.!?]$", text)],
        "headings of documentation": [
            (match[1].strip(), Context()) for text in pieces if (match := re.match(r"#+ (\w[^\n]{8,80})(?:\n|$)", text))
        ],
    }
    print("\n| whole texts | n | false alarms | 95 % interval |\n|---|---|---|---|")
    for name, texts in whole.items():
        print(row(name, [found(text, context) for text, context in texts]))
    for name, texts in whole.items():
        seen = Counter(RULES["cut"](text, context) for text, context in texts)
        print(f"{name}: {[reason for reason, _ in seen.most_common(13) if reason]}")


if __name__ == "__main__":
    main()
