"""Generated wordings of instructions, for training only: a model that knows few wordings fails on others.

A wording combines a frame with a name of the requested text. Wordings similar to a held-out test wording are rejected,
so that test wordings stay unseen.
"""

from __future__ import annotations

import functools
import random
import re

from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.families.family import TOPIC_WORDS, Family
from mminstruct.microworld.language import Facts

SIMILAR = 0.7
"""Jaccard similarity of their words at which two wordings count as similar."""

_VERBS = ("write", "give me", "create", "make", "compose", "draft", "prepare", "produce", "craft", "provide", "offer",
          "come up with", "think of", "put together", "supply", "pen", "do", "work out", "present",
          "propose")  # fmt: skip
_FRAMES = (
    "{V} {key} {x}.", "{V} {key} {x}.", "{V} {key} {x}.", "{V} {key} {x}, please.", "Please {v} {key} {x}.",
    "Can you {v} {key} {x}?", "Could you {v} {key} {x}?", "Would you {v} {key} {x}?", "I need {key} {x}.",
    "I would like {key} {x}.", "I want you to {v} {key} {x}.", "Your task is to {v} {key} {x}.",
    "Help me {v} {key} {x}.",
    "Let me have {key} {x}.", "What would {key} {x} look like?", "How about {key} {x}?", "Show me {key} {x}.",
    "{V} {key} {x}. Keep it simple.", "Now {v} {key} {x}.", "What could {key} {x} be? Answer with it.",
)  # fmt: skip
_KEYS: dict[str, tuple[str, ...]] = {
    "haiku": ("a haiku", "a three-line poem", "a 5-7-5 poem", "a short haiku", "about|on|for|inspired by|with"),
    "animal_story": ("a story", "a tale", "a bedtime story", "the first lines of a story", "the start of a little tale",
                     "about|with|starring|around|of"),
    "diary": ("a diary entry", "a journal entry", "a page of the diary", "a short journal page", "of|by|for|from"),
    "dialogue": ("a dialogue", "a short conversation", "a four-line dialogue", "a friendly talk",
                 "a chatty conversation",
                 "with|of|for|around|that includes"),
    "riddle": ("a riddle", "a puzzle", "an easy puzzle for kids", "a guessing riddle", "about|on|from|for|based on"),
    "slogan": ("a slogan", "a motto", "a catchphrase", "a catchy motto", "a short slogan", "for|about|on|to promote"),
    "vehicle_ad": ("an advert", "an ad", "a commercial", "an advertisement", "a TV commercial",
                   "for|about|selling|with"),
    "menu": ("a menu entry", "a menu item", "a menu line", "a cafe menu text", "for|about|with|presenting"),
    "furniture_listing": ("a second-hand listing", "a classified notice", "an online listing", "a marketplace listing",
                          "for|of|offering|selling|about"),
    "house_listing": ("a real-estate text", "a rental offer", "a property note", "an estate agent's text",
                      "a property advert", "about|for|of|presenting"),
    "postcard": ("a postcard", "a holiday postcard", "postcard greetings", "the text of a postcard",
                 "from|about|of|at"),
    "brochure": ("a brochure", "a tourist leaflet", "brochure copy", "a travel leaflet", "a tourist brochure",
                 "about|for|on|presenting"),
    "social_post": ("a social media post with hashtags", "an Instagram post with hashtags",
                    "a social post with hashtags",
                    "an Instagram caption with hashtags", "about|for|on|of"),
    "tweet": ("a tweet", "a text of under 140 characters", "a message of at most 140 characters", "a funny tweet",
              "about|on|for|of"),
    "title_tags": ("a title and tags", "a title and keywords", "a heading with tags", "a name and keywords",
                   "a title with five tags", "for|to go with|describing"),
    "json_objects": ("a JSON object", "a JSON record", "JSON", "a JSON list of the things", "the contents as JSON",
                     "of|for|from|describing"),
    "table": ("a markdown table", "markdown rows", "a table in markdown", "a small markdown table", "of|for|from|on"),
    "count_report": ("a count of the things", "a counting report", "the number of things", "a count of each item",
                     "in|for|from"),
    "palette": ("the palette", "the colour scheme", "the main hues", "the colours", "a list of the hues", "of|in|from"),
    "comparison": ("a comparison of two things", "a contrast of two items", "the differences between two things",
                   "a short comparison", "in|from|for"),
    "quiz": ("a quiz question", "a multiple-choice question", "a multiple choice quiz", "a test question",
             "a quiz item for a school", "about|on|for|from|using"),
    "alt_text": ("an alt text", "an alt-text", "a text for a screen reader", "a text for screen reader users",
                 "a description for a blind person", "for|of|to go with"),
    "summary": ("a summary", "the gist", "a one-line summary", "the gist in one sentence", "a summary in a nutshell",
                "of|for"),
    "field_note": ("a field note", "a wildlife note", "a naturalist's note", "a biologist's remark",
                   "a wildlife survey note", "about|on|for|of"),
    "pet_care": ("care tips", "advice on the care needed", "three care rules", "tips on caring", "for"),
    "recipe": ("a recipe", "a simple dish", "a snack", "an easy recipe", "a quick dish", "with|from|using|made of"),
    "gardening": ("gardening tips", "gardening advice", "rules for growing", "three gardening hints", "watering rules",
                  "for|on|about"),
    "tool_safety": ("safety rules", "a safety check", "safety instructions", "advice on safety",
                    "tips against accidents",
                    "for|with|about|on"),
    "packing_list": ("a packing list", "a list of things to bring along", "a list of what to take along",
                     "packing tips", "for|for a day at|for a visit to|to"),
    "weather_note": ("a weather note", "a forecast", "a weather report", "a short forecast", "for|from|at|about"),
    "day_plan": ("a day plan", "an itinerary", "a schedule", "a simple plan", "for|for a trip to|for a visit to|at"),
    "traffic_report": ("a traffic report", "a traffic update", "a road report", "a warning to drivers",
                       "about|on|with|for"),
    "lost_and_found": ("a lost-and-found notice", "a found note", "a lost-property notice", "a notice of a lost item",
                       "for|about|on"),
    "email": ("an email", "an e-mail", "a friendly e-mail", "an email to my brother", "about|on|describing|for"),
    "drawing_steps": ("drawing steps", "steps to sketch a copy", "a drawing lesson", "a sketch lesson",
                      "steps to paint",
                      "of|for|on|with"),
    "sign_explanation": ("an account of what the lettering tells, as seen on", "a reading of the lettering of",
                         "an account of the lettering on", ""),
}  # fmt: skip
"""Names of the requested text, by family; the last entry lists the prepositions that can follow them."""
_MORE: dict[str, tuple[str, ...]] = {
    "diary": ("Write what {x} would put into a diary tonight.", "Imagine what stands in the journal of {x}."),
    "dialogue": ("Let {x} have a conversation with a neighbour.", "What might {x} talk about with a friend?"),
    "tweet": ("Say something on {x} in 140 characters at most.", "Keep to 140 characters and describe {x}."),
    "count_report": ("Go through {x} and count what is there.", "How many of each thing does {x} hold?"),
    "palette": ("Which colours does {x} have?", "What hues can be found in {x}?", "Tell me the colours of {x}."),
    "comparison": ("Contrast the things of {x}.", "In what do two things of {x} differ?", "Tell the difference between "
                   "two things in {x}."),
    "summary": ("Sum up {x} in one sentence.", "Summarise {x}.", "In a nutshell, what does {x} show?"),
    "alt_text": ("Describe {x} to a blind friend.", "Help screen reader users to understand {x}."),
    "json_objects": ("Turn {x} into JSON.", "Give back {x} as JSON.", "Save {x} as a JSON object."),
    "table": ("Sort the things of {x} into a markdown table.", "Show {x} in markdown.", "List {x} as a table."),
    "field_note": ("Note the behaviour of {x}.", "What would a naturalist say of {x}?", "Describe {x} as wildlife."),
    "pet_care": ("How do I look after {x}?", "What do I need to care for {x}?", "Advise me on the care of {x}.",
                 "How can I keep {x} happy?"),
    "recipe": ("What can be cooked from {x}? Recipe, please.", "Cook something with {x} and list the steps."),
    "gardening": ("How do I grow {x}?", "What would a gardener do with {x}?", "How much watering does {x} need?"),
    "tool_safety": ("How does one handle {x} safely?", "What is safe and what is not with {x}?",
                    "Tell a beginner how to avoid accidents with {x}."),
    "packing_list": ("What shall I bring along to {x}?", "Tell me what to take along for {x}.", "Pack my bag for {x}."),
    "weather_note": ("What weather does {x} have?", "Tell me the weather at {x}.", "Read the forecast for {x}."),
    "day_plan": ("Plan my day at {x}.", "Schedule a visit to {x}.", "Which itinerary suits {x}?"),
    "traffic_report": ("How is the traffic near {x}?", "Inform drivers of {x}.", "Report from the road about {x}."),
    "lost_and_found": ("Somebody lost {x}. Write the note.", "Find the owner of {x} with a notice."),
    "email": ("Tell a friend about {x} by email.", "Email my aunt about {x}."),
    "drawing_steps": ("How can I draw {x}?", "Teach me to sketch {x} step by step.", "How does one paint {x}?"),
    "sign_explanation": ("Say what {x} tells us.", "What is the meaning of the lettering on {x}?",
                         "Explain the lettering of {x} to a child.", "Let me know what {x} says to people."),
}  # fmt: skip
_TAILS = ("in this view", "in this frame", "on this canvas", "in the drawing", "on this page", "pictured here",
          "on display",
          "seen below", "in front of you", "on the screen", "in the file", "I sent you", "in my picture",
          "")  # fmt: skip
_WHOLES = ("this view", "this frame", "this canvas", "the drawing", "the picture below", "what you see", "my photo",
           "the scene before you", "the image I sent", "the file shown here", "it", "the whole picture")  # fmt: skip


@functools.cache
def _acceptable(name: str, ask: str) -> bool:
    """Whether *ask* is recognised as the family *name* and is similar to none of its test wordings."""
    words = set(re.findall(r"[\w-]+", ask.lower()))
    for other in FAMILIES[name].asks_test:
        theirs = set(re.findall(r"[\w-]+", other.lower()))
        if len(words & theirs) >= SIMILAR * len(words | theirs):
            return False
    return classify(ask.format(x=TOPIC_WORDS.get(FAMILIES[name].topic, "it"))) == name


def _compose(name: str, rng: random.Random) -> str:
    *keys, between = _KEYS[name]
    verb, key = rng.choice(_VERBS), rng.choice(keys)
    about = " ".join(filter(None, (rng.choice(between.split("|")), "{x}")))
    return rng.choice(_FRAMES).format(V=verb[0].upper() + verb[1:], v=verb, key=key, x=about)


def ask(family: Family, rng: random.Random) -> str:
    """A generated wording of *family*, with ``{x}`` for its object."""
    while True:
        more = _MORE.get(family.name, ())
        made = rng.choice(more) if more and rng.random() < 0.35 else _compose(family.name, rng)
        if _acceptable(family.name, made):
            return made


def reworded(family: Family, facts: Facts, rng: random.Random, *, specific: bool) -> str:
    """An instruction of *family* for a picture with *facts*, in a generated wording."""
    if specific:
        about = family.specific(facts, rng)
    elif family.topic == "any":
        about = rng.choice(_WHOLES)
    else:
        about = " ".join(filter(None, (TOPIC_WORDS[family.topic], rng.choice(_TAILS))))
    while classify(text := ask(family, rng).format(x=about)) != family.name:
        pass
    return text
