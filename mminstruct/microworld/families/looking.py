"""Families of analysis, structured output and description."""

from __future__ import annotations

import json
import re
from functools import partial

from mminstruct.microworld.families.family import Family, at_most, has, lines, slots, words, wrong_lore
from mminstruct.microworld.language import COUNTS, NOUNS, Facts, Mention, listed, read_facts


def _json(facts: Facts, thing: Mention) -> str:
    rows = [{"thing": t.kind, "colour": t.colour, "number": t.count} for t in facts.things]
    words = {"words": list(facts.words)} if facts.words else {}
    return json.dumps({"setting": facts.setting, "things": rows, **words})


def _json_problem(answer: str) -> str | None:
    try:
        value = json.loads(answer)
        rows = value["things"]
        return None if rows and all({"thing", "colour", "number"} <= set(row) for row in rows) else "rows lack keys"
    except (ValueError, KeyError, TypeError) as error:
        return f"is no JSON object with 'things': {error}"


def _table(facts: Facts, thing: Mention) -> str:
    rows = [f"| {t.kind} | {t.colour or '-'} | {t.count or '-'} |" for t in facts.things]
    return "\n".join(("| thing | colour | number |", "| --- | --- | --- |", *rows))


def _count(style: int, facts: Facts, thing: Mention) -> str:
    total = sum(thing.count or 1 for thing in facts.things)
    said = COUNTS[total] if total < len(COUNTS) else str(total)
    named = listed([thing.named() for thing in facts.things])
    return f"Count: I can see {named}. Total: {said}." if style else f"Count: {named}. Total: {said}."


def _wrong_total(answer: str) -> str | None:
    total = re.search(r"Total: (\w+)", answer)
    if total is None:
        return "lacks a total"
    counts = [mention.count or 1 for mention in read_facts(answer[: total.start()]).mentions]
    said = COUNTS.index(total[1]) if total[1] in COUNTS else total[1]
    return None if str(said) == str(sum(counts)) else f"the total is {sum(counts)}, not {total[1]}"


def _compare(style: int, facts: Facts, thing: Mention) -> str:
    other = next(rest for rest in facts.things if rest.kind != thing.kind)
    first, second = slots(facts, thing), slots(facts, other)
    left, right = facts.number(thing.kind), facts.number(other.kind)
    plural, plural_other = NOUNS[thing.kind][1], NOUNS[other.kind][1]
    number = f"there are {'as many' if left == right else 'more' if left > right else 'fewer'} {plural}"
    number += f" {'as' if left == right else 'than'} {plural_other}"
    if style == 0:
        same = "share one colour" if thing.colour == other.colour else "differ in colour"
        return f"{first['The']} and {other.the} {same}. Also, {number} {first['where']}."
    return (f"The {thing.noun} {first['is']} {_looks(thing)}, while the {other.noun} {second['is']} {_looks(other)}."
            f" Also, {number}.")  # fmt: skip


def _looks(thing: Mention) -> str:
    dressed = "dressed in " if thing.category == "person" else ""
    return f"{dressed}{thing.colour or 'plain'}"


def _wrong_comparison(answer: str, facts: Facts) -> list[str]:
    """Errors in a comparison of counts and colours."""
    wrong = wrong_lore(answer, facts)
    said = re.search(r"there are (as many|more|fewer) (.+?) (?:as|than) ([a-z -]+)", answer)
    pair = [facts.thing(m.kind) for text in said.groups()[1:] for m in read_facts(text).mentions[:1]] if said else []
    if said and len(pair) == 2 and pair[0] and pair[1]:
        gap = facts.number(pair[0].kind) - facts.number(pair[1].kind)
        right = "as many" if gap == 0 else "more" if gap > 0 else "fewer"
        wrong += [f"there are {right} of the first, not {said[1]}"] if right != said[1] else []
    if " in colour" in answer or "one colour" in answer:
        first = read_facts(answer.split(".")[0]).mentions[:2]
        things = [facts.thing(mention.kind, mention.colour) for mention in first]
        shared = len({thing.colour for thing in things if thing}) == 1
        wrong += ["colours are wrongly compared"] if shared != ("one colour" in answer) else []
    return wrong


_CHOICES = ("red", "blue", "green", "yellow", "white", "black", "brown")


def _quiz(style: int, facts: Facts, thing: Mention) -> str:
    """The position of the right choice depends on colour and count, so that its letter cannot be guessed."""
    if style == 0 and thing.colour and not facts.is_one_of_two(thing):
        choices = [colour for colour in _CHOICES if colour != thing.colour][:2]
        choices.insert(len(thing.colour) % 3, thing.colour)
        wears = f"What colour {'do' if thing.many else 'does'} the {thing.noun} wear?"
        looks = f"What colour {'are' if thing.many else 'is'} the {thing.noun}?"
        question, right = wears if thing.category == "person" else looks, thing.colour
    else:
        number = facts.number(thing.kind)
        least = max(1, number - 1)
        choices, right = [str(least + step) for step in range(3)], str(number)
        question = f"How many {NOUNS[thing.kind][1]} can you find?"
    letters = [f"{letter}) {choice}" for letter, choice in zip("abc", choices, strict=True)]
    return f"Question: {question} {', '.join(letters)}\nAnswer: {'abc'[choices.index(right)]}"


def _wrong_key(answer: str, facts: Facts) -> list[str]:
    """Errors in the answer that the quiz gives."""
    asked = next((facts.thing(mention.kind) for mention in read_facts(answer).mentions), None)
    key = re.search(r"^Answer: ([abc])$", answer, re.MULTILINE)
    choice = re.search(rf"\b{key[1]}\) (\w+)", answer) if key else None
    if asked is None or choice is None:
        return ["the quiz asks for nothing that can be checked"]
    right = str(facts.number(asked.kind)) if "How many" in answer else asked.colour
    return [] if choice[1] == right else [f"the right choice is {right}, not {choice[1]}"]


LOOKING = (
    Family(
        "json_objects",
        "structured output",
        "any",
        r"\bjson\b",
        (
            "List the things in {x} as JSON.",
            "Describe {x} as a JSON object.",
            "Return JSON with every thing of {x}.",
            "Write down {x} in JSON format.",
        ),
        ("Convert {x} into a JSON record.", "Output the contents of {x} as JSON."),
        (_json,),
        (_json_problem,),
    ),
    Family(
        "table",
        "structured output",
        "any",
        r"markdown|\bas a table\b",
        (
            "Make a markdown table of the things in {x}.",
            "Put the contents of {x} in a markdown table.",
            "Turn {x} into a markdown table.",
            "Write a markdown table for {x}.",
        ),
        ("Arrange what {x} holds as markdown rows.", "Show the contents of {x} as a markdown table."),
        (_table,),
        (has(r"^\| --- ", "the rule of a markdown table"), has(r"^\|.*\|$", "rows", 3)),
    ),
    Family(
        "count_report",
        "analysis",
        "any",
        r"\b(count(ing)?|how many|numbers? of)\b",
        (
            "Count the things in {x} and report the total.",
            "How many things are in {x}? Give a count of each.",
            "Write a counting report for {x}.",
            "Count everything in {x}.",
        ),
        ("Take stock of {x} and count each item.", "Report the number of items in {x}."),
        (partial(_count, 0), partial(_count, 1)),
        (has(r"^Count: ", "the word 'Count:'"), _wrong_total),
    ),
    Family(
        "palette",
        "analysis",
        "any",
        r"\b(palette|colours|colour scheme|hues)\b",
        (
            "Describe the colour palette of {x}.",
            "List the main colours of {x} for a painter.",
            "Suggest a room palette based on {x}.",
            "Name the palette of {x}.",
        ),
        ("Analyse the colour scheme of {x}.", "Which hues dominate {x}? Describe them."),
        (
            "Palette: {colours}. The colours come from {all} and give a {mood} feeling.",
            "Palette: {colours}. Use {colour} as the main colour, as in {the}, and the rest in small amounts.",
        ),
        (has(r"^Palette: ", "the word 'Palette:'"),),
    ),
    Family(
        "comparison",
        "comparison",
        "any",
        r"\b(compare|comparing|comparison|contrast|differ(s|ences?)?)\b",
        (
            "Compare two things in {x}.",
            "Write a short comparison of the things in {x}.",
            "Explain how two things in {x} differ.",
            "Compare what you see in {x}.",
        ),
        ("Contrast two items that appear in {x}.", "What differences are there between the items in {x}?"),
        (partial(_compare, 0), partial(_compare, 1)),
        (has(r"\b(share|differ|while)\b", "a word of comparison"), words(10, 50)),
        judge=_wrong_comparison,
        things=2,
    ),
    Family(
        "quiz",
        "teaching",
        "any",
        r"\b(quiz|multiple[- ]choice|test question)\b",
        (
            "Write a quiz question about {x}.",
            "Create a multiple-choice question for {x}.",
            "Make a quiz for pupils from {x}.",
            "Ask one quiz question on {x} and give the answer.",
        ),
        ("Set a multiple choice test on {x}.", "Prepare a school quiz item using {x}."),
        (partial(_quiz, 0), partial(_quiz, 1)),
        (
            has(r"^Question: .*\?", "a question"),
            has(r"a\) .*b\) .*c\) ", "three choices"),
            has(r"^Answer: [abc]$", "the answer"),
        ),
        judge=_wrong_key,
    ),
    Family(
        "alt_text",
        "accessibility",
        "any",
        r"alt[- ]text|screen reader|\bblind\b",
        (
            "Write alt text for {x}.",
            "Describe {x} for a screen reader.",
            "Give {x} a helpful alt text.",
            "Describe {x} briefly for a blind reader.",
        ),
        ("Provide an alt-text that suits {x}.", "Make {x} accessible to screen reader users."),
        ("Image of {all} {where}.{relation}", "Photo {where} with {all}.{relation}"),
        (at_most(200), lines(1), has(r"^(Image of|Photo) ", "the opening 'Image of' or 'Photo'")),
    ),
    Family(
        "summary",
        "summarising",
        "any",
        r"\b(summar\w+|gist|in one sentence|in a nutshell)\b",
        (
            "Summarise {x} in one sentence.",
            "Give a one-sentence summary of {x}.",
            "Say in one sentence what {x} shows.",
            "Write a short summary of {x}.",
        ),
        ("State the gist of {x}.", "Sum up {x} in a nutshell."),
        ("In short, we see {all} {where}{when}.", "In short, this {mood} scene {where} shows {alls}."),
        (lines(1), has(r"^In short, ", "the words 'In short,'"), words(8, 50)),
    ),
    Family(
        "field_note",
        "analysis",
        "animal",
        r"\b(field note|biolog\w+|naturalist|wildlife|behaviour)\b",
        (
            "Write a field note about {x}.",
            "Describe the behaviour of {x} as a biologist.",
            "Make a wildlife note on {x}.",
            "Record {x} in a field note.",
        ),
        ("As a naturalist, write down what you notice about {x}.", "Log {x} for a wildlife survey."),
        (
            "Field note: observed {full} {where}{when}. Known need: {tip}.",
            "Field note: {the} {was} seen {where}. Also there: {others}. Known need: {tip}.",
        ),
        (has(r"^Field note: ", "the words 'Field note:'"), words(10, 50)),
    ),
)
