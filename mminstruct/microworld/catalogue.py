"""The catalogue of the microworld: kinds of things, settings, and their names."""

from __future__ import annotations

from dataclasses import dataclass

CANVAS = 256
"""Side of the square canvas in pixels."""

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
SIZES = ("small", "medium", "large")
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
    colours: tuple[str, ...] = COLOURS
    actions: tuple[str, ...] = ()
    most: int = 6
    """Largest count in one group."""


_ANIMAL = ("sleeping", "running", "eating")
_PERSON = ("walking", "sitting", "waving", "reading")
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dog", "dogs", "animal", ("brown", "white", "black", "orange"), _ANIMAL),
        Kind("cat", "cats", "animal", ("brown", "white", "black", "orange"), _ANIMAL),
        Kind("bird", "birds", "animal", COLOURS, ("flying", "singing")),
        Kind("fish", "fish", "animal", COLOURS, ("swimming",)),
        Kind("cow", "cows", "animal", ("brown", "white", "black"), ("eating", "sleeping"), 4),
        Kind("horse", "horses", "animal", ("brown", "white", "black"), ("running", "eating"), 4),
        Kind("rabbit", "rabbits", "animal", ("brown", "white", "black", "orange"), _ANIMAL),
        Kind("duck", "ducks", "animal", ("yellow", "white", "brown", "green"), ("swimming", "sleeping")),
        Kind("apple", "apples", "food", ("red", "green", "yellow")),
        Kind("banana", "bananas", "food", ("yellow", "green")),
        Kind("cake", "cakes", "food", ("pink", "white", "brown", "yellow", "blue"), (), 3),
        Kind("pizza", "pizzas", "food", ("yellow", "red", "orange"), (), 3),
        Kind("carrot", "carrots", "food", ("orange", "purple")),
        Kind("bread", "breads", "food", ("brown", "yellow", "white"), (), 4),
        Kind("car", "cars", "vehicle", COLOURS, ("driving", "parked"), 4),
        Kind("bus", "buses", "vehicle", COLOURS, ("driving", "parked"), 2),
        Kind("truck", "trucks", "vehicle", COLOURS, ("driving", "parked"), 3),
        Kind("bicycle", "bicycles", "vehicle", COLOURS, ("parked",), 4),
        Kind("boat", "boats", "vehicle", COLOURS, ("sailing",), 4),
        Kind("balloon", "balloons", "vehicle", COLOURS, ("flying",), 4),
        Kind("chair", "chairs", "furniture", COLOURS),
        Kind("table", "tables", "furniture", ("brown", "white", "black", "red"), (), 2),
        Kind("sofa", "sofas", "furniture", COLOURS, (), 2),
        Kind("lamp", "lamps", "furniture", COLOURS, ("glowing",), 4),
        Kind("hammer", "hammers", "tool", ("red", "blue", "black", "brown")),
        Kind("scissors", "scissors", "tool", ("red", "blue", "green", "orange"), (), 4),
        Kind("ladder", "ladders", "tool", ("brown", "white", "yellow", "red"), (), 3),
        Kind("broom", "brooms", "tool", ("yellow", "brown", "red", "green"), (), 4),
        Kind("book", "books", "object", COLOURS),
        Kind("cup", "cups", "object", COLOURS),
        Kind("ball", "balls", "object", COLOURS),
        Kind("kite", "kites", "object", COLOURS, ("flying",)),
        Kind("umbrella", "umbrellas", "object", COLOURS),
        Kind("backpack", "backpacks", "object", COLOURS),
        Kind("clock", "clocks", "object", ("white", "black", "brown", "red", "blue"), (), 4),
        Kind("laptop", "laptops", "object", ("black", "white", "blue"), (), 3),
        Kind("man", "men", "person", COLOURS, _PERSON),
        Kind("woman", "women", "person", COLOURS, _PERSON),
        Kind("child", "children", "person", COLOURS, (*_PERSON, "playing")),
        Kind("house", "houses", "building", COLOURS, (), 3),
        Kind("tower", "towers", "building", ("white", "brown", "red", "blue"), (), 2),
        Kind("tent", "tents", "building", COLOURS, (), 4),
        Kind("tree", "trees", "plant", ("green", "orange", "yellow", "pink")),
        Kind("flower", "flowers", "plant", ("red", "orange", "yellow", "blue", "purple", "pink", "white")),
        Kind("cactus", "cacti", "plant", ("green",), (), 4),
        Kind("sign", "signs", "sign", ("red", "blue", "green", "white", "yellow"), (), 1),
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


_OUT = ("man", "woman", "child", "dog", "bird", "sign", "ball", "backpack", "umbrella")
SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("beach", "on a beach", (*_OUT, "boat", "kite", "chair", "tent", "duck"), False, "Beach"),
        Setting("street", "on a city street", (*_OUT, "car", "bus", "truck", "bicycle", "house", "tree", "cat", "lamp"),
                False, "Street"),
        Setting("forest", "in a forest", (*_OUT, "tree", "rabbit", "flower", "tent", "horse"), False, "Forest"),
        Setting("snow field", "in a snowy field", (*_OUT, "tree", "rabbit", "house", "ladder", "truck"), False,
                "Hills"),
        Setting("market", "at a market", (*_OUT, "apple", "banana", "carrot", "bread", "cake", "flower", "fish",
                "bicycle", "table"), False, "Market"),
        Setting("park", "in a park", (*_OUT, "tree", "flower", "bicycle", "kite", "duck", "rabbit", "chair", "balloon"),
                False, "Park"),
        Setting("farm", "on a farm", ("man", "woman", "child", "dog", "cow", "horse", "duck", "truck", "house",
                "tree", "carrot", "ladder", "broom", "sign"), False, "Farm"),
        Setting("harbour", "at a harbour", (*_OUT, "boat", "fish", "tower", "house", "bicycle", "cat"), False,
                "Harbour"),
        Setting("desert", "in a desert", ("man", "woman", "cactus", "tent", "truck", "car", "bird", "horse", "balloon",
                "backpack", "sign"), False, "Desert"),
        Setting("garden", "in a garden", ("man", "woman", "child", "cat", "rabbit", "bird", "flower", "tree", "ladder",
                "broom", "chair", "table", "cup", "sign"), False, "Garden"),
        Setting("hilltop", "on a hilltop", (*_OUT, "house", "tower", "tree", "tent", "cow", "horse", "balloon", "kite"),
                False, "Hill"),
        Setting("kitchen", "in a kitchen", ("apple", "banana", "cake", "pizza", "carrot", "bread", "cup", "table",
                "chair", "clock", "lamp", "cat", "man", "woman", "broom"), True, "Kitchen"),
        Setting("living room", "in a living room", ("sofa", "chair", "table", "lamp", "cat", "dog", "book", "cup",
                "clock", "man", "woman", "child", "ball", "laptop"), True, "Lodge"),
        Setting("desk", "on an office desk", ("book", "cup", "laptop", "lamp", "clock", "scissors", "apple", "cactus",
                "hammer", "sign"), True, "Office"),
        Setting("workshop", "in a workshop", ("hammer", "scissors", "ladder", "broom", "table", "chair", "lamp",
                "clock", "man", "woman", "cup", "sign", "bicycle"), True, "Workshop"),
        Setting("classroom", "in a classroom", ("child", "woman", "man", "chair", "table", "book", "clock", "backpack",
                "apple", "scissors", "sign", "laptop"), True, "School"),
    )
}  # fmt: skip
"""Every setting, by name."""

NAMES = ("Maple", "Silver", "Sunny", "Willow", "Cedar", "Amber", "Crystal", "Golden", "Harper", "Linden", "Marble",
         "Orchid", "Pebble", "River", "Stone", "Velvet")  # fmt: skip
"""First halves of proper names of places. Only alt-text contains proper names; pictures never show them."""
