"""Families of creative writing, marketing, travel and social media."""

from __future__ import annotations

import re

from mminstruct.microworld.families.family import Family, at_most, has, lines, slots, words
from mminstruct.microworld.language import Facts, Mention

_SYLLABLES = {
    "cactus": 2, "cacti": 2, "trees": 1, "tree": 1, "flowers": 2, "flower": 2, "orange": 2, "yellow": 2, "purple": 2,
    "living": 2, "quiet": 2, "harbour": 2, "desert": 2, "garden": 2, "hilltop": 2, "city": 2, "office": 2, "snowy": 2,
    "field": 1, "around": 2, "silent": 2, "waiting": 2, "standing": 2, "beautiful": 3, "alone": 2,
}  # fmt: skip
_TO_FIVE = {1: "here", 2: "alone", 3: "standing still", 4: "standing alone"}
_TO_SEVEN = {2: "waiting", 3: "very still", 4: "still and silent", 5: "calm and beautiful"}


def syllables(line: str) -> int:
    """Number of syllables in *line*, from a table or else from the groups of vowels."""
    total = 0
    for word in re.findall(r"[a-z]+", line.lower()):
        groups = len(re.findall(r"[aeiouy]+", word)) - (word.endswith("e") and not word.endswith(("le", "ee")))
        total += _SYLLABLES.get(word, max(1, groups))
    return total


def _haiku(facts: Facts, thing: Mention) -> str:
    where = slots(facts, thing)["where"] if not facts.place else slots(Facts(facts.settings), thing)["where"]
    name = thing.named(count=False)
    first = f"{name} {_TO_FIVE.get(5 - syllables(name), '')}".strip()
    second = f"{_TO_SEVEN.get(7 - syllables(where), '')} {where}".strip()
    return f"{first[0].upper()}{first[1:]},\n{second}.\n{slots(facts, thing)['sky']}."


def _five_seven_five(answer: str) -> str | None:
    found = [syllables(line) for line in answer.splitlines()]
    return None if found == [5, 7, 5] else f"lines have {found} syllables, not [5, 7, 5]"


WRITING = (
    Family(
        "haiku",
        "poetry",
        "plant",
        r"haiku|three-line poem|5-7-5",
        (
            "Write a haiku about {x}.",
            "Compose a three-line poem about {x}.",
            "Make a short haiku that praises {x}.",
            "Turn {x} into a haiku.",
        ),
        ("Create a haiku inspired by {x}.", "Could you pen a 5-7-5 poem on {x}?"),
        (_haiku,),
        (lines(3), _five_seven_five),
    ),
    Family(
        "animal_story",
        "storytelling",
        "animal",
        r"\b(story|tale)\b",
        (
            "Write the opening of a story about {x}.",
            "Begin a short story with {x} in it.",
            "Tell the start of a bedtime story about {x}.",
            "Invent a little tale about {x}.",
        ),
        ("Start a picture story starring {x}.", "Craft the first lines of a tale around {x}."),
        (
            "Once upon a time, {a} lived {where}. Nobody knew where {it} had come from. Then a small bell rang "
            "far away, and the adventure began.",
            '{The} had waited {where} for a long time. "Today is the day," said a soft voice from nowhere. And so a '
            "great adventure began.",
            "Once upon a time there {was} {full} {where}. {It} had one big secret. This is the tale of how it "
            "was found.",
        ),
        (has(r"Once upon a time|adventure", "a story's opening"), words(15, 60)),
    ),
    Family(
        "diary",
        "storytelling",
        "person",
        r"\b(diary|journal)\b",
        (
            "Write a diary entry of {x}.",
            "Compose a short diary page for {x}.",
            "Put the day of {x} into a diary entry.",
            "Imagine the diary of {x} and write one entry.",
        ),
        ("Draft a journal entry by {x}.", "What would the diary of {x} say? Write it."),
        (
            "Dear diary, today I was {where}{when}. I saw {others} and wished it would never end. Yours, {the}.",
            "Dear diary, what a {mood} {day} {where}! Near me I saw {others}. I will come back soon. Yours, {the}.",
        ),
        (has(r"^Dear diary", "the words 'Dear diary'"), words(12, 60)),
    ),
    Family(
        "dialogue",
        "dialogue",
        "person",
        r"\b(dialogue|conversation|talk)\b",
        (
            "Write a short dialogue between {x} and a friend.",
            "Make up a conversation of {x} with a friend.",
            "Invent a funny dialogue for {x}.",
            "Let {x} talk with a friend in four lines.",
        ),
        ("Imagine a brief conversation between {x} and a stranger.", "Script a dialogue that includes {x}."),
        (
            "Friend: Where are you?\n{Noun}: I am {where}.\nFriend: What can you see?\n{Noun}: I can see {others}.",
            "Friend: Hello! What a {mood} {day}.\n{Noun}: Yes, I like it {where}.\nFriend: Who else is "
            "there?\n{Noun}: I see {others}.",
        ),
        (has(r"^Friend: ", "lines of the friend", 2), has(r"^(?!Friend)\w+: ", "lines of the other", 2)),
    ),
    Family(
        "riddle",
        "riddles",
        "any",
        r"\b(riddle|puzzle)",
        (
            "Write a riddle for kids about {x}.",
            "Make up an easy riddle from {x}.",
            "Think of a riddle whose answer is in {x}.",
            "Turn {x} into a riddle for kids.",
        ),
        ("Compose a guessing puzzle for kids based on {x}.", "Invent a simple riddle to go with {x}."),
        (
            "{Clue}. You can find me {where}. What am I?\nAnswer: {a}.",
            "Riddle: I am {where}. {Clue}. Can you guess my name?\nAnswer: {a}.",
        ),
        (has(r"\?", "a question"), has(r"^Answer: ", "a line 'Answer:'")),
    ),
    Family(
        "slogan",
        "marketing",
        "any",
        r"\b(slogan|catchphrase|motto)\b",
        (
            "Write a catchy slogan for {x}.",
            "Think of a short slogan that fits {x}.",
            "Create a one-line slogan from {x}.",
            "Invent a slogan for a poster with {x}.",
        ),
        ("Come up with a motto for {x}.", "Give me a catchphrase to go with {x}."),
        ("{Name}: small joys, big smiles!", "Dream big, think of {the}!", "Life is better with {a}!"),
        (lines(1), words(4, 14), has(r"!$", "an exclamation mark at the end")),
    ),
    Family(
        "vehicle_ad",
        "marketing",
        "vehicle",
        r"\b(advert|advertisement|ad|commercial)\b",
        (
            "Write a short advert for {x}.",
            "Create an advertisement that sells {x}.",
            "Make an ad for {x}.",
            "Compose a friendly advert offering {x}.",
        ),
        ("Draft a radio commercial for {x}.", "Put together an advertisement featuring {x}."),
        (
            "For sale: {name}! {It} offer{s} {tip}. See {the} {where} and call us today!",
            "Your next trip starts with {a}. Enjoy {tip}. Visit us {where} and call us today!",
        ),
        (has(r"call us today!", "a call to act"), words(12, 50)),
    ),
    Family(
        "menu",
        "marketing",
        "food",
        r"\bmenu\b",
        (
            "Write a menu entry for {x}.",
            "Describe {x} for the menu of a restaurant.",
            "Put {x} on a cafe menu with a price.",
            "Make a tasty menu line about {x}.",
        ),
        ("Create a bistro menu item out of {x}.", "How would a menu present {x}? Write it."),
        (
            "Today's special: {name}, served with {tip}. Fresh, simple and made with love. Price: 6 euros.",
            "Chef's choice: {name} with {tip}. A treat for hungry guests. Price: 8 euros.",
        ),
        (has(r"Price: \d+ euros\.", "a price"), words(10, 40)),
    ),
    Family(
        "furniture_listing",
        "marketing",
        "furniture",
        r"second-hand|\blisting\b|classified",
        (
            "Write a second-hand listing for {x}.",
            "Create an online listing to sell {x}.",
            "Describe {x} for a classified page.",
            "Make a listing that offers {x}.",
        ),
        ("Prepare a classified notice selling {x}.", "Draft a marketplace listing of {x}."),
        (
            "Title: {name}\nDescription: Well kept and ideal for {tip}. Now to be seen {where}.\nPrice: 40 euros",
            "Title: Offer of {name}\nDescription: A good find for {tip}. Pick up {where}.\nPrice: 25 euros",
        ),
        (has(r"^Title: ", "a title"), has(r"^Description: ", "a description"), has(r"^Price: \d+ euros", "a price")),
    ),
    Family(
        "house_listing",
        "marketing",
        "building",
        r"estate|\b(rental|property)\b",
        (
            "Write a real-estate text about {x}.",
            "Advertise {x} as an estate agent would.",
            "Create a rental offer for {x}.",
            "Make a property offer of {x}.",
        ),
        ("Draft a property note that presents {x}.", "Praise {x} in the voice of an estate agent."),
        (
            "To rent: {name} {where}. {It} offer{s} {tip} and much peace. Viewings every Sunday.",
            "A rare chance: {a} {where} with {tip}. Move in next month. Viewings every Sunday.",
        ),
        (has(r"Viewings", "a word on viewings"), words(12, 45)),
    ),
    Family(
        "postcard",
        "correspondence",
        "outdoor",
        r"postcard",
        (
            "Write a postcard from {x}.",
            "Send a short postcard to a friend from {x}.",
            "Compose a holiday postcard about {x}.",
            "Fill a postcard with greetings from {x}.",
        ),
        ("Pen a postcard home about {x}.", "What would you write on a postcard of {x}? Write it."),
        (
            "Dear friend, greetings from {place}! It is a {mood} {day} and I can see {alls}. See you soon!",
            "Dear friend, today I am {where}. Around me are {all}. I wish you were here. See you soon!",
        ),
        (has(r"^Dear ", "a greeting"), has(r"See you soon!$", "a farewell")),
    ),
    Family(
        "brochure",
        "travel",
        "outdoor",
        r"brochure|\bleaflet\b|tourist",
        (
            "Write a travel brochure text for {x}.",
            "Invite tourists to {x} in a brochure.",
            "Make a short brochure about {x}.",
            "Compose a travel leaflet for {x}.",
        ),
        ("Draft a tourist leaflet that presents {x}.", "Create brochure copy inviting people to {x}."),
        (
            "Visit {place}! Come {time} and meet {all}. Breathe deeply, take photos and stay a while.",
            "Escape to {place}! Here you find {all}. A {mood} {day} waits for you, so come and stay.",
        ),
        (has(r"^(?:Visit|Escape to) ", "an invitation"), words(12, 55)),
    ),
    Family(
        "social_post",
        "social media",
        "any",
        r"hashtag|instagram|social (?:media )?post",
        (
            "Write a social media post with hashtags about {x}.",
            "Create a post with three hashtags for {x}.",
            "Make a cheerful social post for {x} and add hashtags.",
            "Caption {x} for Instagram with hashtags.",
        ),
        ("Draft an Instagram post with hashtags to share {x}.", "Share {x} in a social post ending in hashtags."),
        (
            "Look what I saw {where}: {all}! What a {mood} {day}. #{tag} #{place_tag} #{colour}",
            "Happy moments {where} with {all}. Who wants to join? #{place_tag} #{tag} #happy",
        ),
        (has(r"#\w+", "hashtags", 3), words(10, 45)),
    ),
    Family(
        "tweet",
        "social media",
        "any",
        r"\btweet|140 characters",
        (
            "Write a tweet of less than 140 characters about {x}.",
            "Tweet about {x}.",
            "Make a funny tweet out of {x}.",
            "Put {x} into one short tweet.",
        ),
        ("Sum up {x} in under 140 characters.", "Compose a witty tweet on {x}."),
        ("Spotted {a} {where} today. Best moment of the week!", "Just saw {a} {where}. Pure joy, no filter needed!"),
        (at_most(140), lines(1), words(6, 30)),
    ),
    Family(
        "title_tags",
        "social media",
        "any",
        r"\b(tags|keywords)\b",
        (
            "Give {x} a title and five tags.",
            "Write a title and tags for {x}.",
            "Suggest a gallery title and tags for {x}.",
            "Name {x} and list its tags.",
        ),
        ("Find a heading and keywords for {x}.", "Propose a title with tags to file {x}."),
        (
            "Title: {name} {where}\nTags: {tag}, {colour}, {place_tag}, {mood}, photo",
            "Title: A {mood} {day} {where}\nTags: {place_tag}, {tag}, {colour}, photo, {mood}",
        ),
        (has(r"^Title: ", "a title"), has(r"^Tags: (?:[^,\n]+, ){3,}", "tags")),
    ),
)
