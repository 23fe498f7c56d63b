from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.languages import LANGUAGES
from mminstruct.text.rules import RULES, Context

PROSE = (
    "The harbour is calm this morning. Two small boats rest beside the pier while gulls circle above the lighthouse, and "
    "a fisherman in a yellow coat mends his net on the stones."
)
DESCRIPTION = (
    "The image shows a harbour in the morning. Two small boats rest beside the pier. A fisherman in a yellow coat "
    "mends his net, and a lighthouse stands behind him."
)


def reason(answer: str, instruction: str = "Write a short text about this image.", **fields: object) -> str | None:
    """The first rule that matches, as in the stage."""
    context = Context(instruction=instruction, description=DESCRIPTION, **fields)  # type: ignore[arg-type]
    return next((name for name, rule in RULES.items() if rule(answer, context) is not None), None)


BAD: dict[str, list[str]] = {
    "refusal": [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot see the image you mention.",
        "I am sorry, but I am unable to view images. Please tell me what it shows.",
        "I apologize, but there is not enough to go on here.",
        "I cannot provide a story about this person.",
        "I can't help with identifying people.",
        "Unfortunately I'm unable to generate content about this topic.",
        "I am not able to see the image directly.",
        "No image was provided, so nothing can be said.",
        "Please provide the image so that a poem can be written.",
        "This request goes against my guidelines.",
        "I do not have the ability to see images.",
    ],
    "meta_talk": [
        "As an AI language model, the harbour seems calm to me.",
        "As an AI, I think that the boats are nice.",
        "Based on the description, the harbour is calm and bright.",
        "Based on the provided caption, two boats rest by the pier.",
        "Based on the information provided, it is early in the morning.",
        "The boats are calm. The fisherman's age is not mentioned in the description.",
        "The description does not say whether it rains.",
        "The caption says that there are two boats.",
        "According to the image description, a man mends a net.",
        "Judging from the caption it is morning in the harbour.",
        "It is unclear from the description how many gulls there are.",
        "The image you described shows a lovely harbour.",
        "Following the in-context examples, here is a poem.",
        "As a large language model I see two boats.",
        "Following your instructions, two boats rest by the pier.",
        "As per the given prompt, here is a poem on boats.",
    ],
    "leak": [
        "A calm harbour.<|im_end|>",
        "A calm harbour.</s>",
        "<image>\nA calm harbour in the morning.",
        "[INST] Write a poem [/INST] Boats sleep by the pier.",
        "<think>The user wants a poem.</think> Boats sleep.",
        "Boats sleep by the pier.\n### Human: another one please",
        "Boats sleep by the pier.\n\nImage: A dog on a beach.\nAnswer: A dog runs along the waves.",
        "Instruction: Write a poem.\n\nImage: two boats\nAnswer: Boats sleep.",
        "Boats sleep.\nASSISTANT: Here is more.",
        "Write a short text about this image. Boats sleep by the pier.",
        "Boats sleep <|endoftext|> by the pier.",
        "Boats sleep by the pier.\nHuman: Now write a poem about it.",
        "Boats sleep.<end_of_turn>",
    ],
    "placeholder": [
        "Dear [Name], the harbour is beautiful today.",
        "Join us on [Date] at [Time] in [Venue] for a feast by the sea.",
        "Call [Insert phone number here] to book your boat.",
        "Best wishes,\n[Your Name]",
        "Lorem ipsum dolor sit amet, consectetur.",
        "Welcome to XXX, the finest harbour.",
        "Hello {name}, come and see the boats.",
        "Hello {{ name }}, come and see the boats.",
        "Visit [City, State] this summer.",
        "Sold by <insert company name> since last year.",
        "The [Restaurant Name] serves fresh fish every day.",
    ],
    "repetition": [
        "The boats rest. " * 12,
        "the the the the the the the the the harbour is calm",
        "Boats in the bay. " + "and the sea and the sea and the sea and the sea and the sea and the sea.",
        "A calm harbour is a gift to everyone who walks along the old stones of it. " * 4,
        "- two boats\n" * 10,
        "| thing | number |\n|---|---|\n| boat | 2 | boat boat boat boat boat boat boat boat boat boat",
        "Hellooooooooooooooooooooooo from the harbour.",
        " ".join(f"In year {n} the old harbour master walked to the end of the long pier again." for n in range(9)),
    ],
    "language": [
        "Der Hafen ist ruhig an diesem Morgen, und zwei kleine Boote liegen neben dem Steg.",
        "Le port est calme ce matin et deux petits bateaux sont près de la jetée dans la lumière.",
        "El puerto está en calma esta mañana y dos barcos pequeños descansan junto al muelle.",
        "港は今朝とても静かです。二隻の小さな船が桟橋のそばにあります。",
        "Гавань спокойна этим утром, две лодки стоят у пирса.",
        "今天早上港口很平静，两只小船停在码头旁边。",
        "الميناء هادئ هذا الصباح وهناك قاربان صغيران.",
    ],
    "too_short": ["", " \n", ".", "Boats.", "👍"],
    "cut": [
        "The harbour is calm this morning, and two small boats rest beside the pier while gulls circle above the",
        "Two small boats rest beside the pier. A fisherman in a yellow coat mends his net on the stones while gulls circle over",
        "Here is some code:\n```python\nprint('boats')",
        '{"title": "Harbour", "tags": ["boats", "morning"',
        "1. Bring the boats to the pier.\n2. Mend the nets with",
        "Two boats rest beside the old stone pier in the morning light,",
        "Two boats rest here. A fisherman in yellow mends",
        '{"title": "Harbour", "boats": [{"colour": "red"}',
        '[{"boat": "red"}, {"boat": ',
        "| Object | Count |\n|---|---|\n| boat | 2 |\n| light",
        "| Object | Count |\n|---|---|\n| boat |",
        "| Object | Count | Colour |\n|---|---|---|",
        "1. Bring the boats to the pier. 2. Mend",
        "1. Bring the boats to the pier.\n2. Mend the nets well.\n3. Wait",
        "- rope\n- a yellow coat\n-",
        "1. Untie the boats",
        "Anna: The sea is calm.\nBen: It never is.\nAnna: Here we mend",
        "Boats sleep by the pier,\nnobody wakes the fisherman.\nSoft lights",
        'He turned to the sea and said, "The boats are',
        "Two boats (one of them new",
        "Two boats with a",
        "A fisherman in yellow beside",
        "The nets are heavy, while the boats are",
        "Once upon a time there were two boats. Nobody",
        "I count two boats, three nets and one",
        "Row past the lighthouse, cast the net,",
        "I rest by the pier. Can you guess my name?\nAnswer: a",
    ],
    "copy": [DESCRIPTION, DESCRIPTION.replace("The image shows", "There is")],
    "url": [
        "Visit https://harbour-tours.example/book today.",
        "Book your trip at www.bluesails.net before summer ends.",
        "Book your trip at bluesails.com before summer ends.",
        "![boats](boats.png) Two boats rest by the pier.",
    ],
    "pii": [
        "Write to captain.jones@mail.example for a trip along the coast.",
        "Call 212-867-5309 to book your trip.",
        "Call (212) 867-5309 to book your trip.",
        "Call +44 20 7946 0958 to book your trip.",
        "His number is 078-05-1120, as all know.",
    ],
}

GOOD: list[tuple[str, str]] = [
    ("Describe the image in detail.", DESCRIPTION),
    ("Write a short text about this image.", PROSE),
    ("Write a haiku.", "Boats sleep by the pier\na yellow coat mends the net\ngulls write on the sky"),
    ("Write a title.", "Where the Boats Sleep"),
    ("Create a slogan.", "Calm seas, full nets, good mornings"),
    ("List the objects as JSON.", '{"boats": 2, "people": ["fisherman"]}'),
    ("List the objects as JSON.", '```json\n[{"name": "boat", "count": 2}]\n```'),
    ("Make a table.", "| Object | Count |\n|---|---|\n| boat | 2 |\n| lighthouse | 1 |"),
    ("Make a table of what is there.", "| A | B | C | D | E | F | G | H | I |\n|---|---|---|---|---|---|---|---|---|\n| yes | yes | yes | yes | yes | yes | yes | yes | yes |"),
    ("Give some hashtags.", "#harbour #boats #calm #morning #sea #net #fisherman #lighthouse #gulls #peace #stone #pier #sail #light #work"),
    ("Write a social media post.", "Morning walks like this one make everything right, two boats, one fisherman and all the gulls in town #harbour #calm"),
    ("Write a social media post.", "Two boats, one fisherman, and every gull in town came to say good morning to us today at the pier 🌅⛵"),
    ("Make a packing list.", "- rope\n- a yellow coat\n- nets\n- bait\n- a flask of hot tea"),
    ("Write numbered steps.", "1. Untie the boat\n2. Row past the lighthouse\n3. Cast the net and wait until it is heavy enough to make the two of you tired of pulling"),
    ("Write a letter.", "Dear Mum,\n\nThe harbour is calm. I'm sorry that I could not call yesterday, but I cannot help smiling when I see the boats.\n\nSincerely,\nJohn"),
    ("Write a letter.", "Dear Grandma,\n\nI am sorry I can't be there with you today. The sea is calm here.\n\nWith love,\nAda"),
    ("Write a poem.", "I cannot help but love the sea,\nI can't see past the shore,\nthe boats go out, the boats come in,\nand still I ask for more"),
    ("Write a song.", "Row, row, row the boat\ngently down the stream\nmerrily, merrily, merrily, merrily\nlife is but a dream\n\nRow, row, row the boat\nout upon the sea\nmerrily, merrily, merrily, merrily\ncome and row with me"),
    ("Write a song.", "[Verse 1]\nMorning at the pier\n[Chorus]\nOh, la la la la la la, we sail\n[Verse 2]\nEvening at the pier\n[Chorus]\nOh, la la la la la la, we sail"),
    ("Write a short play.", "[Scene: a harbour at dawn]\nFISHERMAN: The net is torn.\nGULL: (laughing) Ha ha ha ha!\n[Lights fade]"),
    ("Write a dialogue between a human and a robot.", "Human: Is the sea always this calm?\nRobot: Only when you ask politely."),
    ("Write a riddle.", "Riddle: I have two boats but never sail. What am I?\nAnswer: A harbour!"),
    ("Write a caption for this image.", "Caption: Two boats, one pier, no hurry."),
    ("Suggest a caption for this image.", "The caption could be: \"Calm before the catch\"."),
    ("Write a product description for the coat.", "Stay dry. The description on the label says it all: waxed cotton, brass buttons, deep pockets."),
    ("Write a detective story.", "The man fitted the description exactly: a yellow coat, a torn net, and nothing to hide. \"I'm sorry,\" he said, \"but I can't tell you who came by boat.\""),
    ("Explain what is happening.", "Based on the details in the image, it is morning: the light is low and the fisherman has only begun to mend his net."),
    ("Translate the mood of the image into French.", "Le port est calme ce matin, et les deux bateaux sont près de la jetée dans la lumière."),
    ("Write a template for an invitation.", "Dear [Name], join us at [Venue] on [Date]."),
    ("Write CSS for a page about this.", "```css\n.harbour { color: {blue}; }\nbody { margin: 0 }\n```\nThis gives a calm page."),
    ("Write an advertisement.", "Sail with us! Call (555) 123-4567 or 555-0199 today and bring the whole family along."),
    ("Write a news headline and date.", "Harbour Festival Opens, 1990-1995 Boats Return (12-10-2023)"),
    ("Write about the price.", "The two boats cost 1 250 000 crowns in 2019, or about 120,000 dollars each."),
    ("Write a menu.", "Grilled Mackerel – $12.50\nFisherman's Soup – $8.00\nHarbour Salad – $7.25"),
    ("What language is on the sign?", "The sign says 営業中, which is Japanese for “open for business”."),
    ("Write about the café.", "Café Señor Müller serves crème brûlée, jalapeño poppers and smørrebrød beside the pier."),
    ("What does the sign say?", "It reads “À la plage”."),
    ("Write a text in bold letters.", "𝐂𝐚𝐥𝐦 𝐡𝐚𝐫𝐛𝐨𝐮𝐫: two boats rest by the pier."),
    ("Write about the AI.", "As an AI researcher walks along the pier, the boats rest beside her."),
    ("Write about the number of animals.", "There are no animals but three gulls, one, two, three, above the lighthouse."),
    ("Write a to-do list.", "TODO:\n* mend the net\n* paint the boat"),
    ("Write dialogue.", "\"No, no, no, no!\" cried the fisherman. \"Not my net!\""),
    ("Give the plan for the week as a table.", "Mon | fish\nTue | fish\nWed | fish\nThu | mend the net"),
    ("Write a quote with its author.", "\"The sea, once it casts its spell, holds one in its net of wonder forever.\"\n— Jacques Cousteau"),
    ("Write a letter from the boat.", "Yours always, and with salt on every word,\n\nThe smaller of the two boats"),
    ("Write a menu entry.", "Today's special: mackerel, grilled with butter. Fresh and made with love. Price: 6 euros"),
    ("Write a poster.", "Come to the harbour. Two Boats, One Pier, All Day Long"),
    ("Write a slogan.", "Calm seas. Full nets"),
    ("Write a short guide.", "Build the model boat by following the instructions on the box, according to the prompt of your own heart."),
    ("Write a diary entry.", "I could not provide for the gulls today, and I won't go out to sea until the net is whole again."),
    ("Write a slogan.", "The harbour you dream of"),
    ("Write a slogan.", "A coast worth waiting for"),
    ("Write a title.", "What Calm Seas Are Made Of"),
    ("Write a title.", "1. The Two Boats At Rest"),
    ("Write a title.", "The world we sail in"),
    ("Write a verse.", "Nothing is as calm as the sea now is"),
    ("Who is there?", "The fisherman and I"),
    ("Which option is right?", "It is option A"),
    ("How many boats are there?", "there are two"),
    ("What is left of the lighthouse?", "two boats and a pier"),
    ("Write a letter.", "The harbour is calm. The boats came home.\nI mended the net.\n\nWith love from your old friend"),
    ("Write an email.", "Subject: Boats\n\nHello,\nthe boats are back.\nBest wishes"),
    ("Write a short post.", "Two boats rest by the pier. Full nets"),
    ("List the items.", "- Two boats.\n- One pier.\n\nThat is all there is"),
    ("Write a list of boats as JSON.", '["a \\"red\\" boat", "one new] boat"]'),
    ("Measure the net.", 'The net is 12" wide and 30" long'),
    ("Write an emoji story.", "⛵⛵ 🌅 two boats wake 🐦"),
    ("Write a limerick.", "There once was a boat by the pier,\nwhose captain drank nothing but beer;\nhe sailed out at noon,\nand sang to the moon,\nand nobody knew he was here"),
    ("Write a pantoum.", "The boats come home at evening tide,\nthe nets are full, the sea is still,\nthe gulls are crying, far and wide,\na light comes on upon the hill.\n\nThe nets are full, the sea is still,\nthe fisher hums an ancient air,\na light comes on upon the hill,\nand someone waits to find him there."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in BAD.items() for answer in answers])
def test_a_failure_is_found_by_the_rule_that_is_named_for_it(name: str, answer: str) -> None:
    assert reason(answer) == name


@pytest.mark.parametrize(("instruction", "answer"), GOOD)
def test_a_good_answer_passes_every_rule(instruction: str, answer: str) -> None:
    context = Context(instruction=instruction, description=DESCRIPTION)
    assert {name: found for name, rule in RULES.items() if (found := rule(answer, context)) is not None} == {}


def test_words_are_bounded_on_both_sides() -> None:
    assert reason("Two boats rest.", min_words=4) == "too_short"
    assert reason(PROSE, max_words=20) == "too_long"
    assert reason("二隻の船", min_words=4, languages=("ja",)) is None  # each character is one word


def test_another_allowed_language_passes_and_english_then_does_not() -> None:
    german = "Der Hafen ist ruhig an diesem Morgen, und zwei kleine Boote liegen neben dem Steg."
    assert reason(german, languages=("de",)) is None
    assert reason(german, languages=("en", "de")) is None
    assert reason(PROSE, languages=("de",)) == "language"
    assert reason(PROSE, languages=("ja",)) == "language"


def test_a_web_address_in_the_description_is_allowed() -> None:
    context = Context(description="A sign reads www.bluesails.net beside the pier.")
    assert RULES["url"]("The sign points to bluesails.net.", context) is None
    assert RULES["url"]("The sign points to redsails.net.", context) == "redsails.net"


def test_a_name_that_the_description_has_in_full_is_cut_after_its_first_word() -> None:
    context = Context(description="Two boats rest at Willow Harbour. Anna mends a net.")
    assert RULES["cut"]("The two boats of Willow", context) is not None
    assert RULES["cut"]("The two boats of Anna", context) is None
    assert RULES["cut"]("The two boats of Willow", Context()) is None


def test_the_letter_of_a_choice_is_an_answer_and_an_article_is_not() -> None:
    assert RULES["cut"]("Answer: a", Context(instruction="Which of these is it? a) a boat b) a car")) is None
    assert RULES["cut"]("Answer: a", Context(instruction="Write a riddle.")) == "ends in: Answer: a"


def test_the_detail_says_what_was_found() -> None:
    assert RULES["leak"]("A calm harbour.</s>", Context()) == "special_token: </s>"
    assert str(RULES["repetition"]("The boats rest. " * 12, Context())).endswith("the boats rest")
    assert RULES["too_short"]("Boats.", Context()) == "1 words"


@given(st.text(max_size=300), st.text(max_size=60), st.sampled_from(LANGUAGES))
def test_no_text_makes_a_rule_raise(answer: str, instruction: str, code: str) -> None:
    context = Context(instruction=instruction, description=answer[::-1], languages=(code,))
    for rule in RULES.values():
        found = rule(answer, context)
        assert found is None or isinstance(found, str)


def test_rules_take_linear_time() -> None:
    import time

    began = time.perf_counter()
    for text in (
        "a" * 50_000,
        "[" * 50_000,
        "the " * 20_000,
        "https://" * 5_000,
        "image: \n" * 5_000,
        "1-" * 20_000,
        "a@" * 20_000,
        "a.b-" * 9_000,
        "\n" * 30_000,
    ):
        for rule in RULES.values():
            rule(text, Context(instruction="x", description="y"))
    assert time.perf_counter() - began < 20  # seconds, for a hundred calls; a quadratic rule takes minutes
