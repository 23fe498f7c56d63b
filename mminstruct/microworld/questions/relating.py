"""Templates of the domains about positions, relations, comparisons and numbers."""

from __future__ import annotations

from mminstruct.microworld.questions import queries as q
from mminstruct.microworld.questions import tell as t
from mminstruct.microworld.questions.seeing import PAIR, THING, Templates
from mminstruct.microworld.questions.tell import Tell

LOCALIZATION: Templates = {
    "judgement": (
        ("Is the <thing> to the <direction> of the <other>?", q.SIDE),
        ("Can the <thing> be found under the <other>?", q.stands("under")),
        ("Is the <thing> somewhere behind the <other>?", q.stands("behind")),
        ("Do you find the <thing> on the left of the <other>?", q.stands("left of")),
        ("Do you find the <thing> on the right of the <other>?", q.stands("right of")),
        ("Would you look for the <thing> in front of the <other>?", q.stands("in front of")),
    ),
    "choice": (
        ("In which direction from the <other> is the <thing>?", q.DIRECTION),
        ("Where is the <thing>, seen from the <other>?", q.DIRECTION),
        ("Which of these is on the left of the <other>?", q.found("left of")),
        ("Which of these is on the right of the <other>?", q.found("right of")),
        ("What can be found under the <other>?", q.found("under")),
        ("At which side of the <other> is the <thing> placed?", q.DIRECTION),
    ),
    "short": (
        ("Where is the <thing> relative to the <other>?", q.DIRECTION),
        ("What is to the left of the <other>?", q.found("left of")),
        ("What is to the right of the <other>?", q.found("right of")),
        ("What can you find behind the <other>?", q.found("behind")),
        ("What can you find on the <other>?", q.found("on")),
        ("Which side of the <other> is the <thing> on?", q.DIRECTION),
    ),
    "long": (
        ("Explain where to find the <thing>.", Tell((t.relations, t.about), slots=THING)),
        ("Tell how to find the <thing> when you start at the <other>.", Tell((t.relations, t.looks), slots=PAIR)),
        ("Describe the position of the <thing> and of the <other>.", Tell((t.relations, t.both), slots=PAIR)),
        ("Where are the things in relation to each other?", Tell((t.relations, t.contents))),
        ("Guide somebody who looks for the <thing>.", Tell((t.relations, t.where), slots=THING)),
        ("Say where things are, and what else is around.", Tell((t.relations, t.where, t.contents))),
    ),
}

OBJECT_RELATION: Templates = {
    "judgement": (
        ("Is the <thing> on top of the <other>?", q.stands("on")),
        ("Is the <thing> carried by the <other>?", q.stands("on")),
        ("Does the <thing> hide a part of the <other>?", q.stands("in front of")),
        ("Is the <thing> below the <other>?", q.stands("under")),
        ("Is the <thing> partly hidden by the <other>?", q.stands("behind")),
        ("Is the <thing> beside the <other>, on the left?", q.stands("left of")),
    ),
    "choice": (
        ("How is the <thing> related to the <other>?", q.RELATION),
        ("Which words link the <thing> with the <other>?", q.RELATION),
        ("What is on the <other>?", q.found("on")),
        ("What is partly hidden by the <other>?", q.found("behind")),
        ("What hides a part of the <other>?", q.found("in front of")),
        ("What is beside the <other>, on the left?", q.found("left of")),
    ),
    "short": (
        ("What is on top of the <other>?", q.found("on")),
        ("What is below the <other>?", q.found("under")),
        ("Which thing hides a part of the <other>?", q.found("in front of")),
        ("Which thing is partly hidden by the <other>?", q.found("behind")),
        ("How does the <thing> relate to the <other>?", q.RELATION),
        ("Which thing is beside the <other>, on the left?", q.found("left of")),
    ),
    "long": (
        ("Explain how the <thing> and the <other> belong together.", Tell((t.relations, t.looks), slots=PAIR)),
        ("Describe the relation between the <thing> and the <other>.", Tell((t.relations, t.both), slots=PAIR)),
        ("What connects the things that can be seen?", Tell((t.relations, t.contents))),
        ("Tell how the <thing> relates to another thing.", Tell((t.relations, t.about), slots=THING)),
        ("Describe the <thing> together with what is near.", Tell((t.relations, t.rest), slots=THING)),
        ("Say how the things stand to each other.", Tell((t.relations, t.where))),
    ),
}

SPATIAL: Templates = {
    "judgement": (
        ("Is the <thing> left of the <other>?", q.stands("left of")),
        ("Is the <thing> right of the <other>?", q.stands("right of")),
        ("Is the <thing> behind the <other>?", q.stands("behind")),
        ("Is the <thing> in front of the <other>?", q.stands("in front of")),
        ("Is the <thing> under the <other>?", q.stands("under")),
        ("Is the <thing> on the <other>?", q.stands("on")),
    ),
    "choice": (
        ("Where is the <thing> in relation to the <other>?", q.RELATION),
        ("What stands behind the <other>?", q.found("behind")),
        ("What stands in front of the <other>?", q.found("in front of")),
        ("Which position does the <thing> have, seen from the <other>?", q.DIRECTION),
        ("What is left of the <other>?", q.found("left of")),
        ("What is right of the <other>?", q.found("right of")),
    ),
    "short": (
        ("What is behind the <other>?", q.found("behind")),
        ("What is in front of the <other>?", q.found("in front of")),
        ("What is on the left of the <other>?", q.found("left of")),
        ("What is on the right of the <other>?", q.found("right of")),
        ("What is above or on the <other>?", q.found("on", "above")),
        ("Where does the <thing> stand, seen from the <other>?", q.DIRECTION),
    ),
    "long": (
        ("Describe how the space is used, from one thing to the next.", Tell((t.relations, t.contents))),
        ("Explain the position of the <thing> relative to the <other>.", Tell((t.relations, t.both), slots=PAIR)),
        ("Where exactly is the <thing>?", Tell((t.relations, t.where), slots=THING)),
        ("Which way would you look from the <thing> to the <other>?", Tell((t.relations, t.looks), slots=PAIR)),
        ("Describe the layout of the scene.", Tell((t.relations, t.where, t.contents))),
        ("Tell what is around the <thing>.", Tell((t.relations, t.rest), slots=THING)),
    ),
}

COMPARISON: Templates = {
    "judgement": (
        ("Are there more <thing> than <other>?", q.MORE),
        ("Are there fewer <thing> than <other>?", q.FEWER),
        ("Is the number of <thing> the same as that of <other>?", q.AS_MANY),
        ("Do the <thing> and the <other> have the same colour?", q.SAME_COLOUR),
        ("Are there at least twice as many <thing> as <other>?", q.TWICE),
        ("Would you count more <thing> than <other>?", q.MORE),
    ),
    "choice": (
        ("What is there most of?", q.MOST),
        ("What is there least of?", q.FEWEST),
        ("How many more <thing> are there than <other>?", q.DIFFERENCE),
        ("Which kind of thing is the most frequent?", q.MOST),
        ("Which kind of thing is the rarest?", q.FEWEST),
        ("By how many are the <thing> ahead of the <other>?", q.DIFFERENCE),
    ),
    "short": (
        ("Which are there more of, <thing> or <other>?", q.MORE_OF),
        ("Which are there fewer of, <thing> or <other>?", q.FEWER_OF),
        ("How many more <thing> than <other> are there?", q.DIFFERENCE),
        ("Of what is there the largest number?", q.MOST),
        ("Of what is there the smallest number?", q.FEWEST),
        ("If you compare <thing> and <other>, which has the larger number?", q.MORE_OF),
    ),
    "long": (
        ("Compare the number of <thing> with that of <other>.",
         Tell((t.both,), q.MORE_OF, "So there are more {value}.")),
        ("Compare the <thing> and the <other>.", Tell((t.looks, t.where), slots=PAIR)),
        ("How do the <thing> and the <other> differ?", Tell((t.looks, t.relations), slots=PAIR)),
        ("What is there most of, and what else is there?",
         Tell((t.contents,), q.MOST, "The largest number is that of the {value}.")),
        ("Explain which there are fewer of, <thing> or <other>.",
         Tell((t.both,), q.FEWER_OF, "The smaller number is that of the {value}.")),
        ("Set the <thing> against the <other> and describe both.", Tell((t.looks, t.rest), slots=PAIR)),
    ),
}  # fmt: skip

CALCULATION: Templates = {
    "judgement": (
        ("Is the number of <thing> <number>?", q.COUNT),
        ("Do the <thing> and the <other> make <number> together?", q.TOTAL),
        ("Are there more than <number> things in all?", q.MORE_THAN),
        ("Is <number> the number of kinds of things?", q.KINDS_SEEN),
        ("Does a count of all things give <number>?", q.ALL),
        ("Is <number> the right count of the <thing>?", q.COUNT),
    ),
    "choice": (
        ("How many <thing> are there?", q.COUNT),
        ("How many <thing> and <other> are there together?", q.TOTAL),
        ("What is the number of all things?", q.ALL),
        ("How many <thing> are left if you take away <number>?", q.LEFT_OVER),
        ("How many <thing> would there be with <number> more?", q.ADDED),
        ("How many kinds of things can be counted?", q.KINDS_SEEN),
    ),
    "short": (
        ("How many <thing> can you count?", q.COUNT),
        ("What is the sum of the <thing> and the <other>?", q.TOTAL),
        ("How many things are there in all?", q.ALL),
        ("How many <thing> remain without <number> of them?", q.LEFT_OVER),
        ("If you add <number>, how many <thing> will there be?", q.ADDED),
        ("How many different kinds of things are there?", q.KINDS_SEEN),
    ),
    "long": (
        ("Explain how many <thing> and <other> there are together.",
         Tell((t.both,), q.TOTAL, "Together they make {value}.")),
        ("Count all things and show how you get the result.",
         Tell((t.numbers,), q.ALL, "Added up, that makes {value}.")),
        ("How many <thing> stay if you remove <number>? Explain.",
         Tell((t.count,), q.LEFT_OVER, "The number that stays is {value}.")),
        ("Count each kind of thing.", Tell((t.numbers, t.where))),
        ("How many more <thing> than <other> are there? Explain.",
         Tell((t.both,), q.DIFFERENCE, "The difference is {value}.")),
        ("Work out how many <thing> there are if you add <number>.",
         Tell((t.count,), q.ADDED, "The new number is {value}.")),
    ),
}  # fmt: skip
