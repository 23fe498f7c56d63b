"""Sentence shapes of requests, and the words around them, for generated wordings.

``[a|b|]`` offers alternatives, one of them empty. The fields of a shape are ``{v}`` and ``{ing}`` (a verb), ``{key}``
(the requested text), ``{x}`` (its object with a preposition), ``{o}`` (the object alone), ``{role}`` and ``{reader}``;
with a capital they begin a sentence.
"""

# ruff: noqa: E501 - shapes are easier to read on one line

from __future__ import annotations

from typing import Literal

Set = Literal["train", "held"]
"""``held``: shapes, verbs and objects that no training text has."""

VERBS: dict[Set, dict[str, str]] = {
    "train": {
        "write": "writing", "give me": "giving me", "create": "creating", "make": "making", "compose": "composing",
        "draft": "drafting", "prepare": "preparing", "produce": "producing", "craft": "crafting", "pen": "penning",
        "provide": "providing", "offer": "offering", "come up with": "coming up with", "think of": "thinking of",
        "put together": "putting together", "supply": "supplying", "do": "doing", "work out": "working out",
        "present": "presenting", "propose": "proposing", "invent": "inventing", "suggest": "suggesting",
        "send me": "sending me", "get me": "getting me", "write down": "writing down", "set up": "setting up",
        "try": "trying", "show me": "showing me", "design": "designing", "develop": "developing", "add": "adding",
        "finish": "finishing", "read me": "reading me", "type": "typing", "share": "sharing", "type out": "typing out",
    },
    "held": {
        "jot down": "jotting down", "deliver": "delivering", "whip up": "whipping up", "hand in": "handing in",
        "formulate": "formulating", "dream up": "dreaming up",
    },
}  # fmt: skip
"""Verbs, each with its form in -ing."""

SHAPES: dict[str, tuple[str, ...]] = {
    "imperative": (
        "{V} {key} {x}.", "{V} {key} {x}.", "{V} {key} {x}, please.", "[Please|Kindly|Now|Next,|Then] {v} {key} {x}.",
        "Go ahead and {v} {key} {x}.", "[Try|Take your time|Feel free] to {v} {key} {x}.", "Begin by {ing} {key} {x}.",
    ),
    "polite": (
        "[Can|Could|Would|Will] you [please |kindly |perhaps |]{v} {key} {x}?", "Would you mind {ing} {key} {x}?",
        "[Please be|Would you be] so kind as to {v} {key} {x}.", "[May|Might|Can|Could] I [ask you for|have|get] {key} {x}?",
        "It would be [nice|kind|lovely|good] of you to {v} {key} {x}.", "Is it possible to {v} {key} {x}?",
        "I would be [glad|happy|grateful] if you could {v} {key} {x}.", "How nice it would be if you {v} {key} {x}!",
    ),
    "need": (
        "I [really |badly |urgently |only |]need {key} {x}.", "[I'm|I am|We are|We're] [looking|hoping|asking] for {key} {x}.",
        "[I|We] [would like|want|could use|expect|request] {key} {x}.", "[What|All] [I|we] [need|want] [now |today |]is {key} {x}.",
        "{Reader} [wants|needs|asked for|is waiting for] {key} {x}.", "{Key} {x} is what [I|we] [need|want].",
        "[I|We] [was|got] asked for {key} {x}.", "Let [me|us] have {key} {x}.", "I am in need of {key} {x}.",
    ),
    "question": (
        "What [would|could|might] {key} {x} [look|sound|read] like?", "How [would|might|could] {key} {x} [sound|read|go]?",
        "[Do|Would] you have {key} {x}[ for me|]?", "[Any|Do you have any] ideas for {key} {x}?", "[How|What] about {key} {x}?",
        "What is a good way to {v} {key} {x}? [Do it|Try it|Go on].", "Why not {v} {key} {x}?", "Who [can|could] {v} {key} {x}?",
        "What [could|should|would] {key} {x} be? Answer with it.", "Are you able to {v} {key} {x}?",
    ),
    "role": (
        "As {role}, {v} {key} {x}.", "You are {role}. {V} {key} {x}.", "{V} {key} {x} as {role} would.",
        "[Imagine|Suppose|Pretend] you [are|were] {role} and {v} {key} {x}.", "[Act|Work|Think|Speak] like {role} and {v} {key} {x}.",
        "[Take|Play] the [part|role|place] of {role} and {v} {key} {x}.", "Speaking as {role}: {v} {key} {x}.",
    ),
    "reader": (
        "{V} {key} {x} [that|which] {reader} [will|can|could] [like|enjoy|understand|use].", "For {reader}: {key} {x}.",
        "{V} {key} {x} [to|and] [please|surprise|help|impress] {reader}.", "Help {reader} with {key} {x}.",
        "{Reader} would [love|enjoy|welcome|like] {key} {x}.", "For {reader}, {v} {key} {x}.",
    ),
    "object first": (
        "[Take|Look at|Study|Consider|Use|Enjoy] {o} and {v} {key}.", "Here is {o}. [Please {v}|Now {v}|{V}] {key}.",
        "[Regarding|Concerning|As for|About] {o}: {v} {key}.", "With {o} in mind, {v} {key}.", "{O}: {key}[.|, please.]",
        "{O} [needs|deserves|calls for|could do with] {key}.", "Let {o} inspire {key}.", "Use {o} to {v} {key}.",
        "I see {o}. {V} {key} to go with it.", "You get {o}, I get {key}.", "From {o}, {v} {key}.",
    ),
    "noun phrase": (
        "{Key} {x}.", "{Key} {x}, please.", "{Key} {x}[, nothing more| only| now| today|, quickly|, thanks].",
        "[Wanted|Needed|Task|Job|Order|To do|Wish|Request|Topic|Step one|Exercise]: {key} {x}.", "Time for {key} {x}.",
        "[One more thing|And now|Next up|My wish|Today]: {key} {x}.", "{Key}[ -|:|,] {x}.",
    ),
    "blunt": (
        "[Just|Simply|Quickly] {v} {key} {x}[ already| at once|].", "{Key} {x}. [Now|Go|Hurry|Quick]!",
        "[Stop chatting|Wake up|Hurry up|Enough] and {v} {key} {x}.", "No excuses, {v} {key} {x}!",
        "I am [tired of waiting|in a hurry|busy]: {v} {key} {x}.", "You had better {v} {key} {x}.",
    ),
    "indirect": (
        "I wonder [whether|if] you could {v} {key} {x}.", "[Maybe|Perhaps] you [can|could] {v} {key} {x}.",
        "[Let's|Let us] {v} {key} {x}.", "Your [task|job|turn|goal|work] is to {v} {key} {x}.", "It is your turn to {v} {key} {x}.",
        "You [should|must|have to|are to|may|can] {v} {key} {x}.", "[Show|Prove] [me |]that you can {v} {key} {x}.",
        "Help [me|us] [to |]{v} {key} {x}.", "I [want|would like|ask|expect|trust] you to {v} {key} {x}.", "I bet you can {v} {key} {x}.",
        "I [hope|think|guess] you can {v} {key} {x}.", "My question is what {key} {x} would be.",
    ),
    "steps": (
        "[Think|Look|Wait|Breathe] first, then {v} {key} {x}.", "Look closely, and {v} {key} {x}.",
        "{V} {key} {x} and [check|polish|reread|improve] it.", "First look, second think, third {v} {key} {x}.",
    ),
    "constraint first": (
        "Without [any |]further [words|comment|questions], {v} {key} {x}.", "In [simple|plain|clear|friendly] words, {v} {key} {x}.",
        "As [well|clearly|quickly|simply] as you can, {v} {key} {x}.", "In your own [words|voice|style], {v} {key} {x}.",
    ),
}  # fmt: skip
"""Shapes of training wordings, by kind of sentence."""
HELD: tuple[str, ...] = (
    "If you had to {v} {key} {x}, how would it turn out?", "Dare to {v} {key} {x}?", "Surprise me by {ing} {key} {x}.",
    "Nothing would please me more than {key} {x}.", "The assignment reads: {v} {key} {x}.", "Given {o}, {key} is due by noon.",
    "Not an essay, not a letter, but {key} {x}!", "Rather than explaining anything, {v} {key} {x}.", "{O} -> {key}",
    "Somebody ought to {v} {key} {x}, so let it be you.", "Once you have examined {o}, {v} {key}.", "We pay well for {key} {x}.",
    "Ever thought of {ing} {key} {x}? Then do so.", "{Key} {x} has yet to be handed over.", "Unless it is too hard, {v} {key} {x}.",
    "Were you to {v} {key} {x}, everybody would cheer.",
)  # fmt: skip
"""Shapes that no training text has."""

ROLES = (
    "a teacher", "a journalist", "an expert", "an old friend", "a copywriter", "a poet", "an assistant", "a clerk", "a guide",
    "a student", "a reporter", "an editor", "a professor", "a helpful robot", "a neighbour", "a radio host", "an author",
)  # fmt: skip
READERS = (
    "my boss", "our team", "my class", "the editor", "a friend of mine", "our club", "my aunt", "the jury", "my neighbour",
    "a new colleague", "our website", "the newspaper", "my little brother", "the whole family", "a beginner", "our visitors",
    "my teacher", "a busy client", "the audience", "my grandfather",
)  # fmt: skip
PRAISES = (
    "short", "nice", "good", "brief", "clever", "proper", "plain", "new", "little", "fine", "great", "decent", "neat",
    "simple", "useful", "lively", "cheerful", "careful", "funny", "lovely", "small", "typical", "clear", "perfect",
)  # fmt: skip
"""Adjectives of the requested text, all of which follow ``a``."""

OPENINGS = (
    "Hello!", "Hi there.", "Hey,", "Good morning.", "Dear assistant,", "OK,", "So,", "Right,", "Quick question:", "Task [1|2|3|9]:",
    "Listen:", "Sorry to bother you.", "I have a wish.", "Well,", "One more thing.", "Ready?", "Help!", "Attention:", "Please,",
    "{Reader} [is waiting|is curious|likes such things|sent me this|gave me this homework|wants to learn|has no time|needs help].",
    "{Reader} [asked me for something|will read it tomorrow|believes in you|told me about you|is new here|loves pictures].",
    "I [am at work|have a free afternoon|am learning English|like this one|tried it myself|know little about it|trust you].",
    "We [are practising|meet tonight|run a small magazine|start a new project|have five minutes|like your style].",
)  # fmt: skip
CLOSINGS = (
    "Keep it simple.", "No introduction, please.", "Thanks!", "Thank you[ very much| in advance|].", "Nothing else.", "Be [precise|kind|quick].",
    "Do not explain anything.", "One version is enough.", "It should sound natural.", "Plain English, please.", "That is all.",
    "[Make it|It must be] [good|perfect|easy to read|worth reading].", "I [rely on|believe in] you.", "Take your time.", "It is urgent.",
    "Use [plain|simple|friendly] words.", "Show only the result.", "{Reader} will [read|see|judge|love] it.", "Cheers!", "Go on.",
)  # fmt: skip
ASIDES = (
    "It is for {name}.", "{name} asked for it.", "(Folder {word} {word}.)", "Reference: {name} {number}.", "Ask {name} if in doubt.",
    "The file is called {word}_{word}.", "I call it {word} {word}.", "Greetings from {name}!", "(My {word} is {word}.)",
    "{name} and {name} say it is {word}.", "Think {word}, not {word}.", "We meet {name} at {number}.", "Yours, {name}.",
)  # fmt: skip
"""Sentences that change nothing. Their names are invented and their words many: a model must pass over unknown words."""
_COMMON = """
able across actor advice agree air alarm alone amber angle answer anyone april arrive atlas attic august autumn bakery
band bargain basic basket beneath beyond bitter blanket blossom bonus border borrow bottom brave breeze bridge bubble
budget bundle button cabin camera candle canyon captain career carpet castle chance chapter charm cheap chief choice
circle citizen classic climb closet coach coffee comfort common concert copper corner cosmic cotton cover crater crisp
crowd crystal curious current custom danger deal decade degree delight deliver detail dinner distant dollar double
dozen dragon dusty eager early earth echo elder elegant empty energy engine enough entire equal escape event exact
except factor faint famous fancy feather fellow festival figure final finger flame flavour flight folk formal former
fortune fragile frozen future gallery gentle giant ginger glass global golden gossip grand gravity guest habit handle
harvest heavy height hidden history hollow honest honey humble hundred hungry idea ideal island ivory jacket january
jewel joint journey jungle junior kettle kingdom knight labour laugh lawyer leather legend lemon lesson level library
limit linen liquid local lonely loud lucky luxury magic major manner marble margin master meadow medal member memory
metal method middle million minor mirror mixture modern moment monday monster motion mountain museum music mystery
narrow nation native nature nephew nickel noble normal notice novel number ocean office often olive opera option orbit
order origin other outside oven oxygen palace panel parade parcel partner patient pattern pepper perhaps permit phrase
piano pilot pioneer planet platform pleasant pocket policy polish popular portion powder precise prince private prize
process profit proof proud public pupil pure purpose quarter quest rapid rather reason record region relief remote
repair reply report rescue result return reward rhythm rocket rough royal rubber rumour saddle sample sandal scale
scarce scholar science season secret sector senior series serious shadow shelter shiny silence silver single sister
smooth social soldier source special spirit splendid spring stadium statue steady storm strange stream strong studio
subject sudden sugar summer sunday supper surface swift symbol system talent target temple tender theatre theory thick
thread thunder ticket timber tiny topic total tragic travel treasure trophy trumpet tunnel twelve twin uncle under
uniform union unique upper urban useful usual valley value vapour velvet victory village violin virtue visit vital
volume voyage wallet wander warm wealth weekend welcome whisper wicked window winter wisdom wonder wooden worth yard
yellowish youth zero zone
"""
WORDS = tuple(_COMMON.split())
"""Common English words, none of which names a thing of the microworld or a kind of text."""

PICTURES = (
    "image", "picture", "photo", "photograph", "scene", "view", "frame", "canvas", "page", "file", "snapshot", "still", "print",
    "illustration", "slide", "upload", "attachment", "{word} picture", "{word} photo", "{word} image",
)  # fmt: skip
WHERE = (
    "", "", "", "below", "attached", "I took", "I sent[ you|]", "from yesterday", "you have[ here|]", "on your screen", "at hand",
    "in question", "of today", "next to this text", "that came with this message", "from my [phone|trip|archive]", "I like",
    "called {word} {word}", "by {name}", "from {name}", "with the name {name}", "number {number}",
)  # fmt: skip
WHOLES = ("what you see", "it", "the whole thing", "what lies before you", "what you are looking at")
HELD_PICTURES = ("this shot", "the view shown above", "the panorama", "that portrait over there", "our artwork")
HELD_TAILS = ("in this shot", "shown above", "within the panorama", "inside the portrait", "of our artwork")
