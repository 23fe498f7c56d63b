"""Faults injected into good answers, to measure precision and recall of each filter rule.

The faults imitate the wording of models. Their authors knew the rules, so recall here shows that a rule finds what it
is meant to find; it does not estimate recall on unforeseen faults.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mminstruct.microworld.families import lessons
from mminstruct.microworld.scene import draw_scene
from mminstruct.text.rules import RULES, Context

Fault = Callable[[str, Context, random.Random], str | None]
"""Returns the answer with the fault in it, or None where the fault does not fit this answer."""
_OTHER_WORLD = 7_000_003
"""Seed of the world that good answers are drawn from where a run has too few of them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer as the filter sees it."""

    answer: str
    context: Context
    injected: str | None
    """Name of its fault; None in a good answer."""
    found: str | None
    """First rule that dropped it."""


_REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I cannot see the image you are referring to.",
    "Sorry, I can't assist with this request.",
    "I apologize, but I don't have the ability to view images.",
    "Unfortunately, I am unable to view the picture. Could you please describe it?",
    "I can't create that kind of content.",
    "I'm unable to provide an answer because no image was attached.",
    "I'm afraid I can't identify the people in this photo.",
    "I cannot fulfill this request as it goes against my guidelines.",
    "I won't be able to help with this task. Please upload the image again.",
)
_META = (
    "As an AI language model, I do not have feelings. ",
    "As a text-based AI, I rely on what I am told. ",
    "Based on the description, this is what can be said. ",
    "Based on the provided image description, here is my answer. ",
    "According to the caption, the following holds. ",
    "The description does not mention anything else. ",
    "From the caption provided, I can tell the following. ",
    "It is not specified in the description who took it. ",
    "The image you described is lovely. ",
    "Judging by the alt-text, it is real. ",
)
_TOKENS = ("<|im_end|>", "</s>", "<|eot_id|>", "[/INST]", "<|endoftext|>", "<end_of_turn>", "<|assistant|>")
_BLANKS = (
    "Dear [Name], ", "Best wishes, [Your Name]", "Meet us at [Location] on [Date].", "Call [Phone Number] now.",
    "Signed, <insert name here>", "With love from {name}.", "Brought to you by [Company Name].", "Hello {{user}}!",
    "Only XXX dollars today.", "[Insert a fitting title]",
)  # fmt: skip
_FOREIGN = (
    "Das Bild zeigt einen ruhigen Ort, an dem die Menschen den Tag genießen und sich mit ihren Freunden unterhalten.",
    "Es ist ein schöner Morgen, und die Sonne scheint auf das Haus, das neben dem großen Baum steht.",
    "La scène montre un endroit calme où les gens se promènent avec leurs amis et profitent de la journée.",
    "C'est une belle matinée et le soleil brille sur la maison qui se trouve près du grand arbre.",
    "La imagen muestra un lugar tranquilo donde las personas disfrutan del día con sus amigos y su familia.",
    "Es una mañana hermosa y el sol brilla sobre la casa que está junto al árbol grande.",
    "L'immagine mostra un luogo tranquillo dove le persone si godono la giornata con gli amici e con la famiglia.",
    "A imagem mostra um lugar calmo onde as pessoas aproveitam o dia com os amigos e com a família.",
    "这张图片展示了一个安静的地方，人们在那里享受美好的一天。",
    "На картине изображено тихое место, где люди гуляют и наслаждаются прекрасным днём.",
    "この写真には、静かな場所でくつろぐ人々が写っています。",
)
_URLS = (
    "Read more at https://www.scenic-views.com/gallery/42.", "Visit www.happytravels.org for tickets.",
    "See picturesque-places.com for more.", "![photo](https://i.example.net/photo.jpg)",
    "Book now: http://bookings.travelnow.info/offer?id=9",
)  # fmt: skip
_PEOPLE = (
    "Write to anna.meyer@gmail.com for details.", "Call me at (212) 867-5309.", "Phone: +44 20 7946 0958.",
    "Contact: j_smith82@yahoo.co.uk.", "Tel. 415-867-2231 after six.", "My social security number is 078-05-1120.",
)  # fmt: skip


def _appended(texts: Sequence[str]) -> Fault:
    return lambda answer, context, rng: None if answer.startswith("{") else f"{answer} {rng.choice(texts)}"


def _leaked(answer: str, context: Context, rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return f"{answer}{rng.choice(_TOKENS)}"
    if kind == 1:  # the answer continues with another example of its prompt
        return f"{answer}\n\nImage: {context.description}\nAnswer: {answer}"
    if kind == 2:
        return f"Instruction: {context.instruction}\n\nImage: {context.description}\nAnswer: {answer}"
    return f"{answer}\n{rng.choice(('USER: ', 'Human: ', '### Instruction: '))}{context.instruction}"


def _looped(answer: str, context: Context, rng: random.Random) -> str:
    """Repeats the last line or sentence, or a few of its words, at the end."""
    between = "\n" if "\n" in answer else " "
    last = answer.strip().split("\n")[-1] if "\n" in answer else re.split(r"(?<=[.!?])\s+", answer.strip())[-1]
    if rng.random() < 0.5:
        return between.join([answer, *[last] * rng.randint(4, 12)])
    words = re.findall(r"\w+", last)[: rng.randint(1, 4)]
    return f"{answer} {' '.join(words * rng.randint(8, 20))}"


_RAMBLE = (
    "so then also perhaps again very much as ever never soon quite calm bright quiet slow fast near far here there "
    "morning evening road hill river cloud stone wind light shadow colour sound step turn walk look find hold keep"
)


def _rambling(answer: str, context: Context, rng: random.Random) -> str:
    count = context.max_words + rng.randint(20, 300)
    sentences = [" ".join(rng.choices(_RAMBLE.split(), k=12)).capitalize() + "." for _ in range(count // 12 + 1)]
    return f"{answer} {' '.join(sentences)}"


def _cut(answer: str, context: Context, rng: random.Random) -> str | None:
    """Cuts prose of at least 20 words, or a JSON object, before its end."""
    text = answer.strip()
    if text.startswith("{"):
        return text[: int(len(text) * rng.uniform(0.5, 0.95))].rstrip("}").rstrip()
    words = text.split(" ")
    places = [n for n in range(max(16, len(words) // 2), len(words) - 1) if words[n - 1][-1:].isalnum()]
    if "\n" in text or not text[:1].isalpha() or not places:
        return None
    return " ".join(words[: rng.choice(places)])


def _cut_short(answer: str, context: Context, rng: random.Random) -> str | None:
    """Cuts the last line of verse, a list, a table or a short text."""
    text = answer.strip()
    last = text.rsplit("\n", 1)[-1].split(" ")
    places = [n for n in range(2, min(14, len(last) - 1)) if last[n - 1][-1:].isalnum()]
    if text.startswith("{") or not places:
        return None
    return text[: len(text) - len(" ".join(last))] + " ".join(last[: rng.choice(places)])


def _copied(answer: str, context: Context, rng: random.Random) -> str | None:
    asked = re.search(r"descri|caption|alt[- ]text", context.instruction, re.IGNORECASE)
    if asked or len(context.description.split()) < 12:
        return None
    opening = rng.choice(("", "Sure. ", "Here it is: ", "Answer: "))
    return opening + context.description


FAULTS: dict[str, Fault] = {
    "too_short": lambda answer, context, rng: rng.choice(("", "Yes.", "A dog.", "...", "No answer", "OK")),
    "leak": _leaked,
    "refusal": lambda answer, context, rng: rng.choice(_REFUSALS),
    "meta_talk": lambda answer, context, rng: rng.choice(_META) + answer,
    "placeholder": _appended(_BLANKS),
    "repetition": _looped,
    "language": lambda answer, context, rng: rng.choice(_FOREIGN),
    "too_long": _rambling,
    "cut": _cut,
    "copy": _copied,
    "url": _appended(_URLS),
    "pii": _appended(_PEOPLE),
}
"""A fault for each rule, by the rule's name."""
HARD: dict[str, tuple[str, Fault]] = {"cut in verse, lists and short texts": ("cut", _cut_short)}
"""Rule and fault by name: faults of which a rule can find a part only, since good answers can look the same."""


def drawn_answers(count: int) -> list[tuple[str, Context]]:
    """Good answers that the families write themselves, for scenes and wordings that no model was trained on."""
    found = []
    for index in range(count):
        values, text = lessons.answer_example(
            draw_scene(index, _OTHER_WORLD), random.Random(f"planted {index}"), "test"
        )
        found.append((text, Context(instruction=values["instruction"], description=values["description"])))
    return found


def inject(good: Sequence[tuple[str, Context]], rules: Sequence[str], each: int = 100, seed: int = 0) -> list[Sample]:
    """Every answer of *good* unchanged, and up to *each* of them with each fault, as *rules* judge them in order."""
    samples = [_judged(answer, context, None, rules) for answer, context in good]
    for name, fault in [*FAULTS.items(), *((name, fault) for name, (_, fault) in HARD.items())]:
        rng = random.Random(f"plant {name} {seed}")
        injected = 0
        for answer, context in rng.sample(list(good), len(good)):
            bad = fault(answer, context, rng) if injected < each else None
            if bad is not None:
                injected += 1
                samples.append(_judged(bad, context, name, rules))
    return samples


def _judged(answer: str, context: Context, injected: str | None, rules: Sequence[str]) -> Sample:
    found = next((name for name in rules if RULES[name](answer, context) is not None), None)
    return Sample(answer, context, injected, found)


def precision(samples: Iterable[Sample], rule: str) -> list[tuple[bool, int]]:
    """For each sample that *rule* was the first to drop, whether it has that fault."""
    return [(sample.injected == rule, 1) for sample in samples if sample.found == rule and sample.injected not in HARD]


def recall(samples: Iterable[Sample], fault: str) -> list[tuple[bool, int]]:
    """For each sample with *fault*, whether the rule for it was the first to drop it."""
    rule = HARD[fault][0] if fault in HARD else fault
    return [(sample.found == rule, 1) for sample in samples if sample.injected == fault]


def with_limits(contexts: Iterable[tuple[str, Context]], config: dict[str, object]) -> list[tuple[str, Context]]:
    """*contexts* with the limits of a filter's configuration."""
    names = {"min_words": "min_words", "max_words": "max_words", "copied": "max_copied"}
    limits: dict[str, object] = {ours: config[name] for name, ours in names.items() if name in config}
    if isinstance(languages := config.get("languages"), list):
        limits["languages"] = tuple(languages)
    return [(answer, replace(context, **limits)) for answer, context in contexts]  # type: ignore[arg-type]
