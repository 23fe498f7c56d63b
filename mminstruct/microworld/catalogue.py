"""The catalogue of the microworld: kinds of things, settings, and their names."""

from __future__ import annotations

from dataclasses import dataclass

CANVAS = 256
"""Side of the square canvas in pixels."""

LEVELS = ("easy", "hard")
"""How hard the pictures are. Everything below is known at both levels; what only ``hard`` shows is marked."""

_PLAIN = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
_SHADES = ("grey", "turquoise", "beige", "navy")
"""Colours that only ``hard`` shows: each lies between two plain ones."""
COLOURS = (*_PLAIN, *_SHADES)
SIZES = ("small", "medium", "large", "tiny", "huge")
"""Only ``hard`` shows tiny and huge things."""
STYLES = ("flat", "outlined", "photo")
TIMES = ("morning", "midday", "evening", "night")
WEATHERS = ("sunny", "cloudy", "rainy", "snowy", "foggy")
RELATIONS = ("left of", "on", "under", "behind")
WORDS = (
    "OPEN", "SALE", "STOP", "CAFE", "EXIT", "HOTEL", "BOOKS", "FRESH", "MUSIC", "BEACH", "PARK", "ZOO",
    "BREAD", "TAXI", "FISH", "TEA", "ICE", "SHOP", "FARM", "PORT", "SLOW", "HELLO", "QUIET", "FREE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: its names, category, colours, actions and largest count."""

    name: str
    plural: str
    category: str
    """animal, food, vehicle, furniture, tool, object, person, building, plant or sign."""
    colours: tuple[str, ...] = _PLAIN
    actions: tuple[str, ...] = ()
    most: int = 6
    """Largest count in one group."""
    level: str = "easy"
    """The first level that shows it."""
    shades: tuple[str, ...] = ()
    """More colours, which only ``hard`` shows. A kind with all plain colours has all of them."""

    def colours_at(self, level: str) -> tuple[str, ...]:
        """Its colours in pictures of *level*."""
        if level == "easy":
            return self.colours
        return (*self.colours, *(self.shades or (_SHADES if self.colours == _PLAIN else ())))


_FUR, _CLOTHES = ("grey", "beige"), ("grey", "turquoise", "navy")
"""Shades of animals, and of clothes: beige ones would look like skin."""
_ANIMAL = ("sleeping", "running", "eating")
_PERSON = ("walking", "sitting", "waving", "reading")
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dog", "dogs", "animal", ("brown", "white", "black", "orange"), _ANIMAL, shades=_FUR),
        Kind("cat", "cats", "animal", ("brown", "white", "black", "orange"), _ANIMAL, shades=_FUR),
        Kind("bird", "birds", "animal", _PLAIN, ("flying", "singing")),
        Kind("fish", "fish", "animal", _PLAIN, ("swimming",)),
        Kind("cow", "cows", "animal", ("brown", "white", "black"), ("eating", "sleeping"), 4, shades=_FUR),
        Kind("horse", "horses", "animal", ("brown", "white", "black"), ("running", "eating"), 4, shades=_FUR),
        Kind("rabbit", "rabbits", "animal", ("brown", "white", "black", "orange"), _ANIMAL, shades=_FUR),
        Kind(
            "duck", "ducks", "animal", ("yellow", "white", "brown", "green"), ("swimming", "sleeping"), shades=("grey",)
        ),
        Kind("sheep", "sheep", "animal", ("white", "black", "brown"), ("eating", "sleeping"), 5, "hard", _FUR),
        Kind("fox", "foxes", "animal", ("orange", "white", "brown"), ("running", "sleeping"), 4, "hard", ("grey",)),
        Kind("turtle", "turtles", "animal", ("green", "brown", "yellow"), (), 5, "hard", ("grey", "turquoise")),
        Kind("apple", "apples", "food", ("red", "green", "yellow")),
        Kind("banana", "bananas", "food", ("yellow", "green")),
        Kind(
            "cake", "cakes", "food", ("pink", "white", "brown", "yellow", "blue"), (), 3, shades=("turquoise", "beige")
        ),
        Kind("pizza", "pizzas", "food", ("yellow", "red", "orange"), (), 3),
        Kind("carrot", "carrots", "food", ("orange", "purple")),
        Kind("bread", "breads", "food", ("brown", "yellow", "white"), (), 4, shades=("beige",)),
        Kind("pear", "pears", "food", ("green", "yellow", "red"), (), 6, "hard", ("beige",)),
        Kind("tomato", "tomatoes", "food", ("red", "orange", "yellow", "green"), (), 6, "hard"),
        Kind("car", "cars", "vehicle", _PLAIN, ("driving", "parked"), 4),
        Kind("bus", "buses", "vehicle", _PLAIN, ("driving", "parked"), 2),
        Kind("truck", "trucks", "vehicle", _PLAIN, ("driving", "parked"), 3),
        Kind("van", "vans", "vehicle", _PLAIN, ("driving", "parked"), 4, "hard"),
        Kind("bicycle", "bicycles", "vehicle", _PLAIN, ("parked",), 4),
        Kind("boat", "boats", "vehicle", _PLAIN, ("sailing",), 4),
        Kind("balloon", "balloons", "vehicle", _PLAIN, ("flying",), 4),
        Kind("chair", "chairs", "furniture", _PLAIN),
        Kind("table", "tables", "furniture", ("brown", "white", "black", "red"), (), 2, shades=("grey", "beige")),
        Kind("sofa", "sofas", "furniture", _PLAIN, (), 2),
        Kind("stool", "stools", "furniture", _PLAIN, (), 4, "hard"),
        Kind("lamp", "lamps", "furniture", _PLAIN, ("glowing",), 4),
        Kind("hammer", "hammers", "tool", ("red", "blue", "black", "brown"), shades=("navy",)),
        Kind("scissors", "scissors", "tool", ("red", "blue", "green", "orange"), (), 4, shades=("navy", "turquoise")),
        Kind("ladder", "ladders", "tool", ("brown", "white", "yellow", "red"), (), 3, shades=("grey",)),
        Kind("broom", "brooms", "tool", ("yellow", "brown", "red", "green"), (), 4),
        Kind("shovel", "shovels", "tool", ("red", "blue", "green", "brown"), (), 4, "hard", ("navy",)),
        Kind("book", "books", "object", _PLAIN),
        Kind("cup", "cups", "object", _PLAIN),
        Kind("ball", "balls", "object", _PLAIN),
        Kind("kite", "kites", "object", _PLAIN, ("flying",)),
        Kind("umbrella", "umbrellas", "object", _PLAIN),
        Kind("backpack", "backpacks", "object", _PLAIN),
        Kind("clock", "clocks", "object", ("white", "black", "brown", "red", "blue"), (), 4, shades=("grey", "navy")),
        Kind("laptop", "laptops", "object", ("black", "white", "blue"), (), 3, shades=("grey", "navy")),
        Kind("bucket", "buckets", "object", _PLAIN, (), 6, "hard"),
        Kind("vase", "vases", "object", _PLAIN, (), 5, "hard"),
        Kind("man", "men", "person", _PLAIN, _PERSON, shades=_CLOTHES),
        Kind("woman", "women", "person", _PLAIN, _PERSON, shades=_CLOTHES),
        Kind("child", "children", "person", _PLAIN, (*_PERSON, "playing"), shades=_CLOTHES),
        Kind("house", "houses", "building", _PLAIN, (), 3),
        Kind("tower", "towers", "building", ("white", "brown", "red", "blue"), (), 2, shades=("grey", "beige")),
        Kind("tent", "tents", "building", _PLAIN, (), 4),
        Kind("windmill", "windmills", "building", ("white", "red", "brown"), (), 2, "hard", ("grey", "beige")),
        Kind("tree", "trees", "plant", ("green", "orange", "yellow", "pink")),
        Kind("flower", "flowers", "plant", ("red", "orange", "yellow", "blue", "purple", "pink", "white")),
        Kind("cactus", "cacti", "plant", ("green",), (), 4),
        Kind("mushroom", "mushrooms", "plant", ("red", "brown", "white", "yellow"), (), 6, "hard", _FUR),
        Kind(
            "sign",
            "signs",
            "sign",
            ("red", "blue", "green", "white", "yellow"),
            (),
            1,
            shades=("grey", "turquoise", "navy"),
        ),
    )
}
"""Every kind of thing, by name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of place, and the kinds of things that can appear in it."""

    name: str
    phrase: str
    """The setting with preposition and article: ``on a beach``."""
    kinds: tuple[str, ...]
    indoor: bool = False
    proper: str = "Place"
    """Second half of a proper name, as in ``Maple Beach``."""
    more: tuple[str, ...] = ()
    """More kinds, which only ``hard`` shows here."""
    level: str = "easy"
    """The first level that shows it."""

    def kinds_at(self, level: str) -> tuple[str, ...]:
        """The kinds that pictures of *level* show here."""
        return self.kinds if level == "easy" else (*self.kinds, *self.more)


_OUT = ("man", "woman", "child", "dog", "bird", "sign", "ball", "backpack", "umbrella")
SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("beach", "on a beach", (*_OUT, "boat", "kite", "chair", "tent", "duck"), False, "Beach",
                ("bucket", "shovel", "turtle", "lamp", "stool")),
        Setting("street", "on a city street", (*_OUT, "car", "bus", "truck", "bicycle", "house", "tree", "cat", "lamp"),
                False, "Street", ("van", "bucket", "stool", "balloon")),
        Setting("forest", "in a forest", (*_OUT, "tree", "rabbit", "flower", "tent", "horse"), False, "Forest",
                ("fox", "mushroom", "cat")),
        Setting("snow field", "in a snowy field", (*_OUT, "tree", "rabbit", "house", "ladder", "truck"), False,
                "Hills",
                ("fox", "shovel", "van", "windmill")),
        Setting("market", "at a market", (*_OUT, "apple", "banana", "carrot", "bread", "cake", "flower", "fish",
                "bicycle", "table"), False, "Market",
                ("pear", "tomato", "van", "bucket", "vase", "mushroom", "stool", "cat")),
        Setting("park", "in a park", (*_OUT, "tree", "flower", "bicycle", "kite", "duck", "rabbit", "chair", "balloon"),
                False, "Park", ("fox", "turtle", "sheep", "cat", "mushroom")),
        Setting("farm", "on a farm", ("man", "woman", "child", "dog", "cow", "horse", "duck", "truck", "house",
                "tree", "carrot", "ladder", "broom", "sign"), False, "Farm",
                ("sheep", "windmill", "bucket", "shovel", "tomato", "pear", "fox", "cat")),
        Setting("harbour", "at a harbour", (*_OUT, "boat", "fish", "tower", "house", "bicycle", "cat"), False,
                "Harbour",
                ("van", "bucket", "turtle", "windmill")),
        Setting("desert", "in a desert", ("man", "woman", "cactus", "tent", "truck", "car", "bird", "horse", "balloon",
                "backpack", "sign"), False, "Desert",
                ("turtle", "van", "fox", "stool")),
        Setting("garden", "in a garden", ("man", "woman", "child", "cat", "rabbit", "bird", "flower", "tree", "ladder",
                "broom", "chair", "table", "cup", "sign"), False, "Garden",
                ("shovel", "bucket", "vase", "tomato", "mushroom", "stool", "pear", "turtle")),
        Setting("hilltop", "on a hilltop", (*_OUT, "house", "tower", "tree", "tent", "cow", "horse", "balloon", "kite"),
                False, "Hill", ("sheep", "windmill", "fox", "mushroom", "flower")),
        Setting("lake", "by a lake", (*_OUT, "boat", "fish", "duck", "turtle", "tent", "tree", "bicycle", "chair",
                "fox", "bucket", "flower"), False, "Lake", (), "hard"),
        Setting("playground", "on a playground", (*_OUT, "bicycle", "kite", "bucket", "shovel", "tree", "cat", "turtle",
                "chair", "balloon", "stool"), False, "Playground", (), "hard"),
        Setting("airport", "at an airport", (*_OUT, "van", "bus", "truck", "car", "balloon", "tower", "bicycle",
                "ladder", "flower", "tent"), False, "Airport", (), "hard"),
        Setting("kitchen", "in a kitchen", ("apple", "banana", "cake", "pizza", "carrot", "bread", "cup", "table",
                "chair", "clock", "lamp", "cat", "man", "woman", "broom"), True, "Kitchen",
                ("pear", "tomato", "stool", "vase", "bucket", "mushroom", "dog")),
        Setting("living room", "in a living room", ("sofa", "chair", "table", "lamp", "cat", "dog", "book", "cup",
                "clock", "man", "woman", "child", "ball", "laptop"), True, "Lodge",
                ("vase", "stool", "pear", "backpack")),
        Setting("desk", "on an office desk", ("book", "cup", "laptop", "lamp", "clock", "scissors", "apple", "cactus",
                "hammer", "sign"), True, "Office",
                ("pear", "vase", "cake", "tomato")),
        Setting("workshop", "in a workshop", ("hammer", "scissors", "ladder", "broom", "table", "chair", "lamp",
                "clock", "man", "woman", "cup", "sign", "bicycle"), True, "Workshop",
                ("shovel", "bucket", "stool", "cat")),
        Setting("classroom", "in a classroom", ("child", "woman", "man", "chair", "table", "book", "clock", "backpack",
                "apple", "scissors", "sign", "laptop"), True, "School",
                ("vase", "stool", "pear", "ball")),
        Setting("bathroom", "in a bathroom", ("woman", "man", "child", "stool", "bucket", "vase", "duck", "cup", "lamp",
                "clock", "broom", "cat", "dog", "book", "cactus", "flower", "scissors"), True, "Baths", (), "hard"),
    )
}  # fmt: skip
"""Every setting, by name."""

KINDS_AT = {level: tuple(k.name for k in KINDS.values() if level in ("hard", k.level)) for level in LEVELS}
SETTINGS_AT = {level: tuple(s.name for s in SETTINGS.values() if level in ("hard", s.level)) for level in LEVELS}
COLOURS_AT = {"easy": _PLAIN, "hard": COLOURS}
"""What pictures of a level show, in the order of the catalogue."""
GROUPS_AT = {"easy": 4, "hard": 6}
"""Largest number of groups of things in a picture, by level."""

NAMES = ("Maple", "Silver", "Sunny", "Willow", "Cedar", "Amber", "Crystal", "Golden", "Harper", "Linden", "Marble",
         "Orchid", "Pebble", "River", "Stone", "Velvet")  # fmt: skip
"""First halves of proper names of places. Only alt-text contains proper names; pictures never show them."""
