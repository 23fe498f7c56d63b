"""Templates of the domains about positions, relations, comparisons and numbers."""

from __future__ import annotations

from mminstruct.microworld.questions import between as b
from mminstruct.microworld.questions import queries as q
from mminstruct.microworld.questions import tell as t
from mminstruct.microworld.questions.seeing import PAIR, THING, Templates
from mminstruct.microworld.questions.tell import Tell

LOCALIZATION: Templates = {
    "judgement": (
        ("Is the <thing> to the <direction> of the <other>?", b.SIDE),
        ("Can the <thing> be found under the <other>?", b.stands("under")),
        ("Is the <thing> somewhere behind the <other>?", b.stands("behind")),
        ("Do you find the <thing> on the left of the <other>?", b.stands("left of")),
        ("Do you find the <thing> on the right of the <other>?", b.stands("right of")),
        ("Would you look for the <thing> in front of the <other>?", b.stands("in front of")),
    ),
    "choice": (
        ("In which direction from the <other> is the <thing>?", b.DIRECTION),
        ("Where is the <thing>, seen from the <other>?", b.DIRECTION),
        ("Which of these is on the left of the <other>?", b.found("left of")),
        ("Which of these is on the right of the <other>?", b.found("right of")),
        ("What can be found under the <other>?", b.found("under")),
        ("At which side of the <other> is the <thing> placed?", b.DIRECTION),
    ),
    "short": (
        ("Where is the <thing> relative to the <other>?", b.DIRECTION),
        ("What is to the left of the <other>?", b.found("left of")),
        ("What is to the right of the <other>?", b.found("right of")),
        ("What can you find behind the <other>?", b.found("behind")),
        ("What can you find on the <other>?", b.found("on")),
        ("Which side of the <other> is the <thing> on?", b.DIRECTION),
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
        ("Is the <thing> on top of the <other>?", b.stands("on")),
        ("Is the <thing> carried by the <other>?", b.stands("on")),
        ("Does the <thing> hide a part of the <other>?", b.stands("in front of")),
        ("Is the <thing> below the <other>?", b.stands("under")),
        ("Is the <thing> partly hidden by the <other>?", b.stands("behind")),
        ("Is the <thing> beside the <other>, on the left?", b.stands("left of")),
    ),
    "choice": (
        ("How is the <thing> related to the <other>?", b.RELATION),
        ("Which words link the <thing> with the <other>?", b.RELATION),
        ("What is on the <other>?", b.found("on")),
        ("What is partly hidden by the <other>?", b.found("behind")),
        ("What hides a part of the <other>?", b.found("in front of")),
        ("What is beside the <other>, on the left?", b.found("left of")),
    ),
    "short": (
        ("What is on top of the <other>?", b.found("on")),
        ("What is below the <other>?", b.found("under")),
        ("Which thing hides a part of the <other>?", b.found("in front of")),
        ("Which thing is partly hidden by the <other>?", b.found("behind")),
        ("How does the <thing> relate to the <other>?", b.RELATION),
        ("Which thing is beside the <other>, on the left?", b.found("left of")),
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
        ("Is the <thing> left of the <other>?", b.stands("left of")),
        ("Is the <thing> right of the <other>?", b.stands("right of")),
        ("Is the <thing> behind the <other>?", b.stands("behind")),
        ("Is the <thing> in front of the <other>?", b.stands("in front of")),
        ("Is the <thing> under the <other>?", b.stands("under")),
        ("Is the <thing> on the <other>?", b.stands("on")),
    ),
    "choice": (
        ("Where is the <thing> in relation to the <other>?", b.RELATION),
        ("What stands behind the <other>?", b.found("behind")),
        ("What stands in front of the <other>?", b.found("in front of")),
        ("Which position does the <thing> have, seen from the <other>?", b.DIRECTION),
        ("What is left of the <other>?", b.found("left of")),
        ("What is right of the <other>?", b.found("right of")),
    ),
    "short": (
        ("What is behind the <other>?", b.found("behind")),
        ("What is in front of the <other>?", b.found("in front of")),
        ("What is on the left of the <other>?", b.found("left of")),
        ("What is on the right of the <other>?", b.found("right of")),
        ("What is above or on the <other>?", b.found("on", "above")),
        ("Where does the <thing> stand, seen from the <other>?", b.DIRECTION),
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
        ("Are there more <thing> than <other>?", b.MORE),
        ("Are there fewer <thing> than <other>?", b.FEWER),
        ("Is the number of <thing> the same as that of <other>?", b.AS_MANY),
        ("Do the <thing> and the <other> have the same colour?", b.SAME_COLOUR),
        ("Are there at least twice as many <thing> as <other>?", b.TWICE),
        ("Would you count more <thing> than <other>?", b.MORE),
    ),
    "choice": (
        ("What is there most of?", b.MOST),
        ("What is there least of?", b.FEWEST),
        ("How many more <thing> are there than <other>?", b.DIFFERENCE),
        ("Which kind of thing is the most frequent?", b.MOST),
        ("Which kind of thing is the rarest?", b.FEWEST),
        ("What is the difference between the numbers of <thing> and <other>?", b.GAP),
    ),
    "short": (
        ("Which are there more of, <thing> or <other>?", b.MORE_OF),
        ("Which are there fewer of, <thing> or <other>?", b.FEWER_OF),
        ("How many more <thing> than <other> are there?", b.DIFFERENCE),
        ("Of what is there the largest number?", b.MOST),
        ("Of what is there the smallest number?", b.FEWEST),
        ("By how many do the numbers of <thing> and <other> differ?", b.GAP),
    ),
    "long": (
        ("Compare the number of <thing> with that of <other>.",
         Tell((t.both,), b.MORE_OF, "So there are more {value}.")),
        ("Compare the <thing> and the <other>.", Tell((t.looks, t.where), slots=PAIR)),
        ("How do the <thing> and the <other> differ?", Tell((t.looks, t.relations), slots=PAIR)),
        ("What is there most of, and what else is there?",
         Tell((t.contents,), b.MOST, "The largest number is that of the {value}.")),
        ("Explain which there are fewer of, <thing> or <other>.",
         Tell((t.both,), b.FEWER_OF, "The smaller number is that of the {value}.")),
        ("Set the <thing> against the <other> and describe both.", Tell((t.looks, t.rest), slots=PAIR)),
    ),
}  # fmt: skip

CALCULATION: Templates = {
    "judgement": (
        ("Is the number of <thing> <number>?", q.COUNT),
        ("Do the <thing> and the <other> make <number> together?", b.TOTAL),
        ("Are there more than <number> things in all?", b.MORE_THAN),
        ("Is <number> the number of kinds of things?", q.KINDS_SEEN),
        ("Does a count of all things give <number>?", q.ALL),
        ("Is <number> the right count of the <thing>?", q.COUNT),
    ),
    "choice": (
        ("How many <thing> are there?", q.COUNT),
        ("How many <thing> and <other> are there together?", b.TOTAL),
        ("What is the number of all things?", q.ALL),
        ("How many <thing> are left if you take away <number>?", b.LEFT_OVER),
        ("How many <thing> would there be with <number> more?", b.ADDED),
        ("How many kinds of things can be counted?", q.KINDS_SEEN),
    ),
    "short": (
        ("How many <thing> can you count?", q.COUNT),
        ("What is the sum of the <thing> and the <other>?", b.TOTAL),
        ("How many things are there in all?", q.ALL),
        ("How many <thing> remain without <number> of them?", b.LEFT_OVER),
        ("If you add <number>, how many <thing> will there be?", b.ADDED),
        ("How many different kinds of things are there?", q.KINDS_SEEN),
    ),
    "long": (
        ("Explain how many <thing> and <other> there are together.",
         Tell((t.both,), b.TOTAL, "Together they make {value}.")),
        ("Count all things and show how you get the result.",
         Tell((t.numbers,), q.ALL, "Added up, that makes {value}.")),
        ("How many <thing> stay if you remove <number>? Explain.",
         Tell((t.count,), b.LEFT_OVER, "The number that stays is {value}.")),
        ("Count each kind of thing.", Tell((t.numbers, t.where))),
        ("How many more <thing> than <other> are there? Explain.",
         Tell((t.both,), b.DIFFERENCE, "The difference is {value}.")),
        ("Work out how many <thing> there are if you add <number>.",
         Tell((t.count,), b.ADDED, "The new number is {value}.")),
    ),
}  # fmt: skip
