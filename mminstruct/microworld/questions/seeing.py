"""Templates of the domains about the place, the look and the things of a picture."""

from __future__ import annotations

from mminstruct.microworld.questions import commonsense as c
from mminstruct.microworld.questions import queries as q
from mminstruct.microworld.questions import tell as t
from mminstruct.microworld.questions.tell import Tell

THING, PAIR = ("thing",), ("thing", "other")
Templates = dict[str, tuple[tuple[str, q.Query | Tell], ...]]
"""By kind: each text, and what it asks or what tells its answer."""

STYLE: Templates = {
    "judgement": (
        ("Does this look like <style>?", q.STYLE),
        ("Is <colour> the main colour of the things?", q.MAIN_COLOUR),
        ("Was it night when this was made?", q.DARK),
        ("Is one of the things shown in <colour>?", q.COLOURS_SEEN),
        ("Is this the light of the <part>?", q.TIME),
        ("Does <event> set the look of the scene?", q.FALLS),
    ),
    "choice": (
        ("Which technique does this look like?", q.STYLE),
        ("Which colour do most of the things have?", q.MAIN_COLOUR),
        ("What kind of light fills the scene?", q.LIGHT),
        ("Which time of day does the light belong to?", q.TIME),
        ("Which of these colours does one of the things have?", q.COLOURS_SEEN),
        ("Which weather gives the scene its look?", q.WEATHER),
    ),
    "short": (
        ("Which technique was this made in?", q.STYLE),
        ("What is the main colour of the things?", q.MAIN_COLOUR),
        ("Which colour was chosen for the <thing>?", q.COLOUR),
        ("What kind of light can be seen?", q.LIGHT),
        ("Which weather sets the mood?", q.WEATHER),
        ("Which time of day does the light show?", q.TIME),
    ),
    "long": (
        ("Tell which colours make up the look of the scene.", Tell((t.colours,))),
        ("Say how the time of day shapes the look of the scene.",
         Tell((t.where,), q.LIGHT, "The light is best called {value}.")),
        ("Go through the colours of the things and say how they are placed.", Tell((t.colours, t.relations))),
        ("What would a painter need to know to paint the same?", Tell((t.where, t.contents))),
        ("How does the <thing> stand out by its colour?", Tell((t.colour, t.rest), slots=THING)),
        ("Which colour is used most, and for what?",
         Tell((t.colours,), q.MAIN_COLOUR, "The colour that is used most is {value}.")),
    ),
}  # fmt: skip

SCENE: Templates = {
    "judgement": (
        ("Is this a <place>?", q.SETTING),
        ("Was this taken indoors?", q.INDOORS),
        ("Is it <part> in this place?", q.TIME),
        ("Are there people in this place?", q.PEOPLE),
        ("Can <event> be seen in this place?", q.FALLS),
        ("Would you call this place a <place>?", q.SETTING),
    ),
    "choice": (
        ("In which kind of place was this taken?", q.SETTING),
        ("What time of day is it in this place?", q.TIME),
        ("What is the weather like here?", q.WEATHER),
        ("Where would you have to go to see this?", q.SETTING),
        ("Which of these belongs to the place?", q.SEEN),
        ("Which kind of surroundings is this?", q.SETTING),
    ),
    "short": (
        ("What kind of place is this?", q.SETTING),
        ("What is the weather in this place?", q.WEATHER),
        ("At what time of day was this taken?", q.TIME),
        ("Is the place indoors or outdoors?", q.INSIDE),
        ("Where does all this happen?", q.SETTING),
        ("How many kinds of things fill the place?", q.KINDS_SEEN),
    ),
    "long": (
        ("Describe the place and what is in it.", Tell((t.where, t.contents))),
        ("What kind of place is this, and how can you tell?", Tell((t.where, t.inside, t.contents))),
        ("Tell a friend who has never been here what the place is like.", Tell((t.where, t.contents, t.relations))),
        ("Explain which time of day it is in this place.",
         Tell((t.where,), q.TIME, "The time of day is {value}.")),
        ("What can be found in this place?", Tell((t.contents, t.where))),
        ("Is the place full or empty? Explain.", Tell((t.where, t.contents), q.ALL, "In all, the count is {value}.")),
    ),
}  # fmt: skip

DESCRIPTION: Templates = {
    "judgement": (
        ("Can a <thing> be seen?", q.SEEN),
        ("Is <event> going on here?", q.ACTIONS_SEEN),
        ("Does this show a <thing> somewhere?", q.SEEN),
        ("Is there more than one kind of thing to see?", q.SEVERAL),
        ("Would a short summary have to name a <thing>?", q.SEEN),
        ("Is something or somebody <event>?", q.ACTIONS_SEEN),
    ),
    "choice": (
        ("Which of these can be seen here?", q.SEEN),
        ("Which of these is going on?", q.ACTIONS_SEEN),
        ("How many kinds of things are shown?", q.KINDS_SEEN),
        ("Which thing would a full account have to name?", q.SEEN),
        ("Where is all of this?", q.SETTING),
        ("How many things are there to see in all?", q.ALL),
    ),
    "short": (
        ("Which kind of place is shown?", q.SETTING),
        ("How many things are shown altogether?", q.ALL),
        ("What is the <thing> seen doing?", q.ACTION),
        ("How many kinds of things can you tell apart?", q.KINDS_SEEN),
        ("Who or what is <event> here?", q.who_does()),
        ("In what colour is the <thing> shown?", q.COLOUR),
    ),
    "long": (
        ("Tell everything that can be seen.", Tell((t.contents, t.where, t.relations, t.sign))),
        ("Describe the whole view for somebody who cannot see it.",
         Tell((t.where, t.contents, t.relations, t.sign))),
        ("What is shown, and what is going on?", Tell((t.contents, t.actions))),
        ("Sum up the view in a few sentences.", Tell((t.where, t.contents))),
        ("Begin with the <thing> and then describe the rest.", Tell((t.about, t.rest, t.where), slots=THING)),
        ("Which things are there, and where are they?", Tell((t.contents, t.relations, t.where))),
    ),
}  # fmt: skip

ATTRIBUTES: Templates = {
    "judgement": (
        ("Is the <thing> <colour>?", q.COLOUR),
        ("Does the <thing> have the colour <colour>?", q.COLOUR),
        ("Is the <person_role> dressed in <colour>?", q.COLOUR),
        ("Is the <thing> large?", q.is_size("large")),
        ("Is the <thing> small?", q.is_size("small")),
        ("Is the <thing> <event>?", q.ACTION),
    ),
    "choice": (
        ("What colour is the <thing>?", q.COLOUR),
        ("What is the size of the <thing>?", q.SIZE),
        ("In which colour is the <person_role> dressed?", q.COLOUR),
        ("What is the <thing> doing?", q.ACTION),
        ("Which colour does the <thing> have?", q.COLOUR),
        ("Which word fits the size of the <thing>?", q.SIZE),
    ),
    "short": (
        ("What is the colour of the <thing>?", q.COLOUR),
        ("What size is the <thing>?", q.SIZE),
        ("What is the <thing> busy with?", q.ACTION),
        ("Which colour would you need to paint the <thing>?", q.COLOUR),
        ("Which thing is <colour>?", q.of_colour()),
        ("In what colour is the <person_role> dressed?", q.COLOUR),
    ),
    "long": (
        ("Describe the <thing> in detail.", Tell((t.about, t.relations), slots=THING)),
        ("What does the <thing> look like?", Tell((t.about, t.where), slots=THING)),
        ("List the colour of every thing.", Tell((t.colours,))),
        ("Describe the look of the <thing> and tell what else is there.", Tell((t.about, t.rest), slots=THING)),
        ("By what would somebody recognise the <thing>?", Tell((t.about, t.relations, t.where), slots=THING)),
        ("Compare the looks of the <thing> and the <other>.", Tell((t.looks,), slots=PAIR)),
    ),
}  # fmt: skip

OCR: Templates = {
    "judgement": (
        ('Does the sign read "<text>"?', q.WORD),
        ("Can any word be read here?", q.ANY_WORD),
        ('Is "<text>" the word on the sign?', q.WORD),
        ("Is the sign with the word <colour>?", q.SIGN_COLOUR),
        ("Does the word on the sign have <number> letters?", q.LETTERS),
        ('Does the <colour> sign read "<text>"?', q.WORD_ON),
    ),
    "choice": (
        ("Which word is on the <colour> sign?", q.WORD_ON),
        ("What does the word on the sign tell people?", q.MEANING),
        ("What would a visitor learn from the word?", q.MEANING),
        ("How many letters does the written word have?", q.LETTERS),
        ("Which of these words can be read?", q.WORD),
        ("What colour is the sign that carries the word?", q.SIGN_COLOUR),
    ),
    "short": (
        ("What is written on the sign?", q.WORD),
        ("What does the <colour> sign say?", q.WORD_ON),
        ("How many letters has the word on the sign?", q.LETTERS),
        ("With which letter does the word on the sign end?", q.ends(-1)),
        ("Which word can be read here?", q.WORD),
        ("What colour is the sign with the word?", q.SIGN_COLOUR),
    ),
    "long": (
        ("Explain what the sign says and what it means.",
         Tell((t.sign,), q.MEANING, "It tells people that {value}.")),
        ("Read the sign aloud and say where it stands.", Tell((t.sign, t.where))),
        ("What does the writing tell a visitor?",
         Tell((t.sign, t.where), q.MEANING, "So a visitor knows that {value}.")),
        ("Which word is written, and what else is there?", Tell((t.sign, t.contents))),
        ("How long is the word that can be read? Explain.",
         Tell((t.sign,), q.LETTERS, "The number of its letters is {value}.")),
        ("Tell what can be read, and what surrounds it.", Tell((t.sign, t.where, t.contents))),
    ),
}  # fmt: skip

SPECIES: Templates = {
    "judgement": (
        ("Is there a <species> here?", q.of_category("animal")),
        ("Is the animal shown a <species>?", q.of_category("animal")),
        ("Does the <species> belong to the mammals?", c.is_class("mammal")),
        ("Does a <species> have feathers?", c.is_class("bird")),
        ("Would an expert call this animal a <species>?", q.of_category("animal")),
        ("Is the <species> <event>?", q.ACTION),
    ),
    "choice": (
        ("Which animal is this?", q.of_category("animal")),
        ("To which class of animals does the <species> belong?", c.CLASS),
        ("Which of these animals can be seen?", q.of_category("animal")),
        ("What covers the body of a <species>?", c.COVER),
        ("What is a young <species> called?", c.YOUNG_OF),
        ("How many legs does a <species> have?", c.LEGS_OF),
    ),
    "short": (
        ("Which animal can be seen?", q.of_category("animal")),
        ("Which class of animals is the <species> part of?", c.CLASS),
        ("What is the body of a <species> covered with?", c.COVER),
        ("What do you call the young of a <species>?", c.YOUNG_OF),
        ("What is the <species> doing?", q.ACTION),
        ("What colour is the <species>?", q.COLOUR),
    ),
    "long": (
        ("Describe the <species>.", Tell((t.about, t.where), slots=THING)),
        ("Which animals are there, and what do they do?", Tell((t.animals,))),
        ("What covers the body of the <species> shown? Explain.",
         Tell((t.about,), c.COVER, "The body is covered with {value}.")),
        ("How many legs has the <species> shown? Explain.",
         Tell((t.about,), c.LEGS_OF, "The number of legs of each is {value}.")),
        ("What does the <species> look like, and what is around?", Tell((t.about, t.rest), slots=THING)),
        ("Tell a child about the <species> here.",
         Tell((t.about,), c.YOUNG_OF, "The young of this animal is called a {value}.")),
    ),
}  # fmt: skip
