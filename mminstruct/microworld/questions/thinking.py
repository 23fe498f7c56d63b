"""Templates of the domains that need common sense, names or writing, and questions that continue a conversation."""

from __future__ import annotations

from mminstruct.microworld.questions import commonsense as c
from mminstruct.microworld.questions import queries as q
from mminstruct.microworld.questions import tell as t
from mminstruct.microworld.questions.seeing import PAIR, THING, Templates
from mminstruct.microworld.questions.tell import Compose, Tell

COMMONSENSE: Templates = {
    "judgement": (
        ("Is a raincoat the right thing to wear here?", c.in_mood("rainy")),
        ("Could something here be eaten as it is?", c.is_useful("eaten")),
        ("Would one need a torch to see well outdoors here?", q.DARK),
        ("Is it hard to see far because of fog?", c.in_mood("foggy")),
        ("Could you ask somebody here the way?", q.PEOPLE),
        ("Is there a vehicle one could travel with?", c.is_useful("driven")),
    ),
    "choice": (
        ("What should one wear here?", c.by_mood("clothes")),
        ("What does a driver need most here?", c.by_mood("driving")),
        ("What could people do here for fun?", c.by_mood("doing")),
        ("Which of these could be eaten here?", c.useful("eaten")),
        ("What is true of every <thing>?", q.TRAIT),
        ("Which of these here is a vehicle?", c.useful("driven")),
    ),
    "short": (
        ("What should people wear outdoors here?", c.by_mood("clothes")),
        ("Which thing here is something to eat?", q.of_category("food")),
        ("Which thing here is a vehicle?", q.of_category("vehicle")),
        ("Which thing here helps with repairs or cleaning?", q.of_category("tool")),
        ("What does the weather invite people to do?", c.by_mood("doing")),
        ("To which group of things does a <thing> belong?", q.CATEGORY),
    ),
    "long": (
        ("Why would people come to this place at this hour?",
         Tell((t.where,), c.by_mood("doing"), "People may come here for {value}.")),
        ("What should one wear here, and why?",
         Tell((t.where,), c.by_mood("clothes"), "So it is wise to wear {value}.")),
        ("What should a driver keep in mind here?",
         Tell((t.where,), c.by_mood("driving"), "What a driver needs here is {value}.")),
        ("What is known about things like the <thing>?",
         Tell((t.about,), q.TRAIT, "In general they are {value}.")),
        ("What would you do on a visit here?",
         Tell((t.where, t.contents), c.by_mood("doing"), "It is a good time for {value}.")),
        ("What does the <thing> tell about the place?", Tell((t.about, t.where, t.rest), slots=THING)),
    ),
}  # fmt: skip

LANDMARK: Templates = {
    "judgement": (
        ("Is this <place>?", q.NAME),
        ("Would a map call this place <place>?", q.NAME),
        ("Is <place> the name of this place?", q.NAME),
        ("Could a visitor say: I have been to <place>?", q.NAME),
        ("Would a postcard from here say <place>?", q.NAME),
        ("Was this taken at <place>?", q.NAME),
    ),
    "choice": (
        ("What is this place called?", q.NAME),
        ("Which place is this?", q.NAME),
        ("Which name would a guide give this place?", q.NAME),
        ("Which word ends the name of this place?", q.part_of_name("proper", 1)),
        ("Which word begins the name of this place?", q.part_of_name("first", 0)),
        ("Where could one take the same picture?", q.NAME),
    ),
    "short": (
        ("What is the name of this place?", q.NAME),
        ("Which name does this place have?", q.NAME),
        ("What would a map call this place?", q.NAME),
        ("With which word does the name of this place begin?", q.part_of_name("first", 0)),
        ("With which word does the name of this place end?", q.part_of_name("proper", 1)),
        ("Which place do visitors see here?", q.NAME),
    ),
    "long": (
        ("Introduce this place to a visitor.", Tell((t.named, t.where, t.contents))),
        ("What is this place called, and what can be seen there?", Tell((t.named, t.contents))),
        ("Tell a traveller what waits here.", Tell((t.named, t.contents, t.where))),
        ("Explain where this is.", Tell((t.named, t.where))),
        ("What would a guide say about this place?", Tell((t.named, t.where, t.contents, t.relations))),
        ("Why might one remember this place?", Tell((t.named, t.contents, t.relations))),
    ),
}

WRITING: Templates = {
    "judgement": tuple((text, c.PURPOSE) for text in (
        "Would this picture suit <purpose>?",
        "Could <purpose> be written about this?",
        "Does the scene offer enough for <purpose>?",
        "Would you use this picture for <purpose>?",
        "Is this a good picture for <purpose>?",
        "Could a writer turn this into <purpose>?",
    )),
    "choice": tuple((text, c.PURPOSE) for text in (
        "Which of these texts would the picture suit?",
        "What could be written about this?",
        "For which text does the scene offer enough?",
        "Which text would you use this picture for?",
        "For which of these is this a good picture?",
        "What could a writer turn this into?",
    )),
    "short": tuple((text, c.ABOUT) for text in (
        "What would <purpose> be about here?",
        "Which thing would <purpose> have to name?",
        "Who or what would be the subject of <purpose>?",
        "Which thing here is fit for <purpose>?",
        "What should <purpose> for this picture speak of?",
        "What does this picture offer for <purpose>?",
    )),
    "long": tuple((text, Compose((), c.COMPOSED)) for text in (
        "Write <purpose> for this picture.",
        "Compose <purpose> that fits the scene.",
        "Turn what you see into <purpose>.",
        "Make <purpose> out of this view.",
        "Draft <purpose> about what is shown.",
        "Think up <purpose> that suits this picture.",
    )),
}  # fmt: skip

FOLLOWS: tuple[tuple[str, Tell], ...] = (
    ("What colour is the <thing>?", Tell((t.colour,), slots=THING)),
    ("And which colour does the <thing> have?", Tell((t.colour,), slots=THING)),
    ("How many <thing> are there?", Tell((t.count,), slots=THING)),
    ("And how many <thing> can you count?", Tell((t.count,), slots=THING)),
    ("What is the <thing> doing?", Tell((t.action,), slots=THING)),
    ("And what is the <thing> doing there?", Tell((t.action,), slots=THING)),
    ("How large is the <thing>?", Tell((t.size,), slots=THING)),
    ("Where is the <thing>?", Tell((t.relations,), slots=THING)),
    ("How is the <thing> placed relative to the <other>?", Tell((t.relations,), slots=PAIR)),
    ("What else can be seen beside the <thing>?", Tell((t.rest,), slots=THING)),
    ("And what is there apart from the <thing>?", Tell((t.rest,), slots=THING)),
    ("In what kind of place is the <thing>?", Tell((t.where,), slots=THING)),
    ("What does the <thing> look like?", Tell((t.about,), slots=THING)),
    ("What is written there?", Tell((t.sign,))),
)
"""Questions that continue a conversation, each with what tells its answer."""
