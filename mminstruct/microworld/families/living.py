"""Families of advice, safety, planning, news, correspondence and teaching."""

from __future__ import annotations

from functools import partial

from mminstruct.microworld.families.family import Family, has, numbered, slots, words
from mminstruct.microworld.language import Facts, Mention

_PREPARE = {
    "apple": ("Wash and slice", "Bake with {tip} for ten minutes"), "banana": ("Peel and slice", "Mix with {tip}"),
    "carrot": ("Peel and slice", "Roast with {tip} for ten minutes"), "cake": ("Cut", "Serve with {tip}"),
    "pizza": ("Cut", "Top with {tip} and warm up"), "bread": ("Slice", "Toast with {tip}"),
    "pear": ("Peel and slice", "Bake with {tip} for ten minutes"), "tomato": ("Wash and slice", "Mix with {tip}"),
}  # fmt: skip


def _recipe(style: int, facts: Facts, thing: Mention) -> str:
    words = slots(facts, thing)
    first, then = _PREPARE[thing.kind]
    steps = f"1. {first} {thing.the}. 2. {then.format_map(words)}. 3. Enjoy it warm with friends."
    return f"Ingredients: {thing.named()}, {words['tip']}. {steps}" if style else f"Recipe for {thing.named()}: {steps}"


LIVING = (
    Family(
        "pet_care",
        "advice",
        "animal",
        r"\b(look after|care|caring|keep(ing)? .* (happy|healthy))\b",
        (
            "Give three tips on how to care for {x}.",
            "Explain how to look after {x}.",
            "Write care tips about {x}.",
            "List what good care of {x} means.",
        ),
        ("What should I do to keep {x} healthy?", "Offer advice on caring for {x}."),
        (
            "1. {The} need{s} {tip}. 2. Visit the vet once a year. 3. Be patient and kind every day.",
            "1. Give {the} {tip}. 2. Offer a safe and calm home. 3. Call the vet when something seems wrong.",
        ),
        (numbered(3),),
    ),
    Family(
        "recipe",
        "cooking",
        "food",
        r"\b(recipe|cook|dish|snack)\b",
        (
            "Suggest a simple recipe that uses {x}.",
            "Write a short recipe with {x}.",
            "What can I cook with {x}? Give the steps.",
            "Invent a quick recipe for {x}.",
        ),
        ("Propose an easy dish made from {x}.", "How do I turn {x} into a snack? List the steps."),
        (partial(_recipe, 0), partial(_recipe, 1)),
        (numbered(3), words(15, 60)),
    ),
    Family(
        "gardening",
        "advice",
        "plant",
        r"\b(garden(er|ing)|grow(ing)?|watering)\b.*|\bplant (care|tips)\b",
        (
            "Give gardening tips for {x}.",
            "Explain how to grow {x}.",
            "Write three gardening rules for {x}.",
            "Tell a new gardener how to treat {x}.",
        ),
        ("As a gardener, advise me on {x}.", "What helps with growing {x}?"),
        (
            "1. {Tip}. 2. Give {the} enough light. 3. Check {its} leaves and stems every week.",
            "1. Choose a bright spot for {the}. 2. {Tip}. 3. Add fresh soil every spring.",
        ),
        (numbered(3),),
    ),
    Family(
        "tool_safety",
        "safety",
        "tool",
        r"\b(safe|safely|safety|accidents?)\b",
        (
            "Write a safety check for {x}.",
            "Explain how to use {x} safely.",
            "List safety rules for {x}.",
            "What safety advice would you give about {x}?",
        ),
        ("How can accidents with {x} be avoided?", "Draft safety instructions that cover {x}."),
        (
            "1. Look at {the} before use and check for damage. 2. {Tip}. 3. Ask for help when in doubt.",
            "1. {Tip}. 2. Wear gloves and strong shoes. 3. Put {the} back after work.",
        ),
        (numbered(3),),
    ),
    Family(
        "packing_list",
        "planning",
        "outdoor",
        r"\bpack(ing)?\b|take along|bring along",
        (
            "Write a packing list for a trip to {x}.",
            "What should I pack for a day at {x}?",
            "Make a packing list that suits {x}.",
            "Help me pack for {x}.",
        ),
        ("Prepare a checklist of things to bring along to {x}.", "Which items should I take along to {x}?"),
        (
            "- {pack}\n- a camera for {all}\n- a good mood for a day {where}",
            "For a trip{when} {where}:\n- {pack}\n- snacks\n- a camera",
        ),
        (has(r"^- ", "list items", 3),),
    ),
    Family(
        "weather_note",
        "news",
        "outdoor",
        r"\b(weather|forecast)\b",
        (
            "Write a weather note for {x}.",
            "Give a short weather report from {x}.",
            "Describe the weather at {x} for the radio.",
            "Make a weather note with advice for {x}.",
        ),
        ("Present a brief forecast for {x}.", "How is the weather at {x}? Report it with advice."),
        (
            "Weather note: it is a {mood} {day} {where}. {Sky}. {Wear}.",
            "Report from {place}: it is a {mood} {day} here. {Sky}. Our advice: {wear}.",
        ),
        (has(r"^(Weather note|Report)", "the heading 'Weather note' or 'Report'"), words(12, 50)),
    ),
    Family(
        "day_plan",
        "planning",
        "outdoor",
        r"\b(plan|schedule|itinerary)\b",
        (
            "Plan a day trip to {x}.",
            "Make a plan in three steps for a visit to {x}.",
            "Write a simple day plan for {x}.",
            "Plan a short outing to {x}.",
        ),
        ("Set out an itinerary for {x}.", "Set up a small schedule for visiting {x}."),
        (
            "1. Arrive {where} and look around. 2. Take photos of {all}. 3. Rest, eat and go home happy.",
            "1. Pack {pack}. 2. Walk around {place} and find {the}. 3. Share a meal and go home happy.",
        ),
        (numbered(3), has(r"go home", "the way home")),
    ),
    Family(
        "traffic_report",
        "news",
        "vehicle",
        r"\b(traffic|road|drivers?)\b",
        (
            "Write a traffic report about {x}.",
            "Report on the traffic around {x} for the radio.",
            "Give a short traffic note that mentions {x}.",
            "Warn drivers about {x} in a traffic report.",
        ),
        ("Announce a traffic update involving {x}.", "Tell drivers about {x} as a radio host would."),
        (
            "Traffic report: please watch out for {full} {where}. {Roads}. Keep your distance and stay calm.",
            "Attention please: there {is} {full} {where}. {Roads}. Keep your distance and allow more time.",
        ),
        (has(r"^(Traffic report|Attention please): ", "a heading"), words(12, 45)),
    ),
    Family(
        "lost_and_found",
        "correspondence",
        "object",
        r"\b(lost|found|missing|owner of)\b",
        (
            "Write a lost-and-found notice for {x}.",
            "Make a notice that {x} was found.",
            "Post a found note about {x}.",
            "Create a lost-and-found card for {x}.",
        ),
        ("Someone is missing {x}. Write the notice.", "Draft a bulletin for the lost-property office about {x}."),
        (
            "Found: {name}, seen {where}. {Is} {it} yours? Please call 555-0142.",
            "Lost and found: {a} {was} left {where}. If {it} belong{s} to you, please call 555-0142.",
        ),
        (has(r"^(Found|Lost and found): ", "a heading"), has(r"555-0142", "a telephone number")),
    ),
    Family(
        "email",
        "correspondence",
        "any",
        r"\b(e-?mail)\b",
        (
            "Write a short email to a friend about {x}.",
            "Compose an e-mail that describes {x}.",
            "Draft a friendly email to go with {x}.",
            "Email a colleague about {x}.",
        ),
        ("Put {x} into words in an e-mail.", "Send an email telling my sister about {x}."),
        (
            "Subject: A {mood} {day}\n\nDear friend,\nthis photo was taken {where}. It shows {alls}.\nBest wishes",
            "Subject: {Name}\n\nHello,\nlook at this: {alls} {where}. I thought you would like it.\nBest wishes",
        ),
        (has(r"^Subject: ", "a subject"), has(r"^Best wishes$", "a closing")),
    ),
    Family(
        "drawing_steps",
        "teaching",
        "any",
        r"\b(draw|drawing|sketch|paint)\b",
        (
            "Explain in steps how to draw {x}.",
            "Write a drawing lesson based on {x}.",
            "List the steps to draw {x}.",
            "Teach a beginner to draw {x}.",
        ),
        ("Guide me through a sketch of {x}.", "How would I paint {x}? Go step by step."),
        (
            "1. Draw the background of the {setting}. 2. Outline {the} with simple shapes. 3. Colour {them} "
            "{colour}. 4. Add"
            " small details.",
            "1. Outline {the} first. 2. Fill the shape with {colour}. 3. Add {other} next to {them}. 4. Paint "
            "the {setting}.",
        ),
        (numbered(4),),
    ),
    Family(
        "sign_explanation",
        "reading",
        "sign",
        r"\blettering\b|\bwhat .*\bsign\b.* (means?|tells?|says?)\b",
        (
            "Explain what {x} means.",
            "Read {x} and say what it tells people.",
            "What does {x} tell visitors? Explain.",
            "Tell a young reader what {x} means.",
        ),
        ("Interpret the words on {x}.", "Read aloud the lettering of {x} and comment on it."),
        (
            'The {sign} says "{word}". It tells people that {meaning}.',
            'You can read the word "{word}" {where}. It means that {meaning}.',
        ),
        (words(8, 35),),
    ),
)
