"""Common knowledge that questions ask for: about animals, clothes, uses of things and purposes of texts."""

from __future__ import annotations

from mminstruct.microworld.catalogue import KINDS

CLASSES = {"dog": "mammal", "cat": "mammal", "cow": "mammal", "horse": "mammal", "rabbit": "mammal", "sheep": "mammal",
           "fox": "mammal", "bird": "bird", "duck": "bird", "fish": "fish", "turtle": "reptile"}  # fmt: skip
"""Class of animals, by kind."""
COVERS = {"mammal": "fur", "bird": "feathers", "fish": "scales", "reptile": "a hard shell"}
"""What covers the body of the animals in ``CLASSES``, by class."""
LEGS = {"mammal": "four", "bird": "two", "fish": "zero", "reptile": "four"}
"""Number of legs, by class."""
YOUNG = {"dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "duck": "duckling", "bird": "chick",
         "sheep": "lamb", "fox": "cub"}  # fmt: skip
"""Name of the young, by kind."""
TYPICAL = {"banana": "yellow", "carrot": "orange", "cactus": "green", "tree": "green"}
"""The colour that people name without a look at the picture."""

USES = {"eaten": "food", "driven": "vehicle", "repairs": "tool"}
"""Category of the things that can be used so."""
CLOTHES = {"sunny": "a sun hat", "cloudy": "a light jacket", "rainy": "a raincoat and boots",
           "snowy": "gloves and a thick coat", "foggy": "a bright vest", "night": "a warm jacket"}  # fmt: skip
"""What to wear outdoors, by weather, or at night where no weather is known."""
DRIVING = {"sunny": "sunglasses against the glare", "cloudy": "nothing special", "rainy": "care on the wet road",
           "snowy": "winter tyres", "foggy": "fog lights", "night": "headlights"}  # fmt: skip
"""What a driver needs most, by weather, or at night where no weather is known."""
DOING = {"sunny": "sunbathing", "cloudy": "a quiet walk", "rainy": "jumping into puddles",
         "snowy": "throwing snowballs", "foggy": "listening to sounds", "night": "looking at the stars"}  # fmt: skip
"""What people like to do outdoors, by weather, or at night where no weather is known."""

PURPOSES = {
    "haiku": "a haiku", "animal_story": "the beginning of a tale", "diary": "a page of a diary",
    "dialogue": "a dialogue with a friend", "riddle": "a riddle", "slogan": "a slogan",
    "vehicle_ad": "an advert for a vehicle", "menu": "an entry of a menu", "furniture_listing": "a second-hand listing",
    "house_listing": "an offer of an estate agent", "postcard": "a holiday postcard",
    "brochure": "a travel brochure", "social_post": "a post with hashtags", "tweet": "a tweet",
    "title_tags": "a title with tags", "pet_care": "advice on pet care", "recipe": "a recipe",
    "gardening": "gardening tips", "tool_safety": "a safety check", "packing_list": "a packing list",
    "weather_note": "a weather report", "day_plan": "a plan for a day out", "traffic_report": "a traffic report",
    "lost_and_found": "a lost-and-found notice", "email": "an email", "drawing_steps": "steps for drawing",
    "sign_explanation": "an explanation of a sign", "json_objects": "a JSON object", "table": "a table of things",
    "count_report": "a report of counts", "palette": "a colour palette", "comparison": "a comparison",
    "quiz": "a quiz question", "alt_text": "an alt-text", "summary": "a summary", "field_note": "a field note",
}  # fmt: skip
"""What each family of instructions writes, as a noun with its article."""

TRAITS = {"animal": "living beings that move by themselves", "food": "things that people eat",
          "vehicle": "things that carry people or goods", "furniture": "things that furnish a room",
          "tool": "things that help with work", "object": "things for daily use", "person": "human beings",
          "building": "things that people build to stay in", "plant": "living beings with roots",
          "sign": "things that tell people something"}  # fmt: skip
"""What the things of a category are."""


def group_of(kind: str) -> str | None:
    """Class of an animal; None for other kinds, and for animals whose class is not in the table."""
    return CLASSES.get(kind) if KINDS[kind].category == "animal" else None
