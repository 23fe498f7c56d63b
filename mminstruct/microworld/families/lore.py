"""Common knowledge about the things of the microworld: clues, tips and meanings for answers.

No entry contains the name of a kind, colour, action, place, time or weather: ``read_facts`` would take it for a claim.
"""

from __future__ import annotations

CLUES = {
    "dog": "I bark and wag my tail", "cat": "I purr and chase mice", "bird": "I have feathers and build a nest",
    "fish": "I breathe with gills", "cow": "I give milk and say moo", "horse": "I gallop and wear a saddle",
    "rabbit": "I hop and have long ears", "duck": "I quack and love ponds", "apple": "I am round and crunch "
    "when bitten",
    "banana": "I am curved and you peel me", "cake": "I am sweet and may carry candles",
    "pizza": "I am round and covered with cheese", "carrot": "I grow in the ground and crunch",
    "bread": "I rise in the oven and love butter", "car": "I have four wheels and a boot",
    "bus": "I carry many passengers along a route", "truck": "I carry heavy loads on big wheels",
    "bicycle": "I have two wheels and pedals", "boat": "I float and cross the water",
    "balloon": "I rise with warm air and a basket", "chair": "I have four legs and a back but never walk",
    "table": "I have four legs and hold your dinner", "sofa": "I am soft and seat the whole family",
    "lamp": "I shine when it gets dark", "hammer": "I hit nails on the head",
    "scissors": "I have two blades and cut paper", "ladder": "I have many steps and lean on walls",
    "broom": "I sweep the floor", "book": "I have pages and tell stories", "cup": "I have a handle and hold hot drinks",
    "ball": "I am round and love to bounce", "kite": "I dance in the wind on a string",
    "umbrella": "I open when drops fall", "backpack": "I ride on your shoulders",
    "clock": "I have hands but no fingers", "laptop": "I have keys and a screen that folds",
    "man": "I may be a father or an uncle", "woman": "I may be a mother or an aunt",
    "child": "I love to play and grow every day", "house": "I have a roof and a front door",
    "tower": "I am tall and you climb my stairs", "tent": "I am made of cloth and pegs",
    "tree": "I have bark, roots and branches", "flower": "I have petals and bees love me",
    "cactus": "I have spines and need little water", "sheep": "I give wool and say baa",
    "fox": "I am sly and have a bushy tail", "turtle": "I carry my home and take my time",
    "pear": "I am sweet and grow with a narrow neck", "tomato": "I am juicy and make good ketchup",
    "van": "I have sliding doors and bring parcels", "stool": "I have no back and stand at a bar",
    "shovel": "I dig holes and move earth", "bucket": "I have a handle on top and carry water",
    "vase": "I have a neck and hold cut stems", "windmill": "I turn my arms and grind grain",
    "mushroom": "I have a cap and no leaves", "sign": "I show words without a voice",
}  # fmt: skip
"""How each kind would describe itself in a riddle."""

TIPS = {
    # animals: what they need
    "dog": "a long walk every day", "cat": "a clean tray and a warm bed", "bird": "fresh seeds and clean water",
    "fish": "clean water and a little food", "cow": "fresh grass and plenty of water", "horse": "hay and daily "
    "brushing",
    "rabbit": "hay and a dry, soft bed", "duck": "a shallow pond and grain",
    "sheep": "fresh grass and a yearly shearing", "fox": "a quiet den and room to roam",
    "turtle": "a warm stone and leafy greens",
    # food: what goes with it
    "apple": "butter and cinnamon", "banana": "honey and yoghurt", "carrot": "olive oil and salt",
    "cake": "cream and berries", "pizza": "cheese and basil", "bread": "garlic and butter",
    "pear": "honey and nuts", "tomato": "olive oil and basil",
    # vehicles: what they offer
    "car": "room for the whole family", "bus": "seats for many passengers", "truck": "space for heavy loads",
    "bicycle": "light wheels and strong brakes", "boat": "a smooth trip over the water",
    "balloon": "a calm trip and a wide view", "van": "space for people and parcels",
    # furniture: where it fits
    "chair": "any quiet corner", "table": "long family dinners", "sofa": "lazy weekends", "lamp": "a dark corner",
    "stool": "a quick breakfast",
    # tools: how to be safe
    "hammer": "keep your fingers away from the nail", "scissors": "close the blades before you put them down",
    "ladder": "set {them} on firm and level ground", "broom": "store {them} upright so that nobody trips",
    "shovel": "keep your feet away from the blade",
    # objects: what they are good for
    "book": "long train rides", "cup": "hot drinks", "ball": "games with friends", "kite": "windy days",
    "umbrella": "wet days", "backpack": "day trips", "clock": "being on time", "laptop": "work on the move",
    "bucket": "cleaning days", "vase": "a bright corner",
    # people: what they may enjoy
    "man": "a slow day with friends", "woman": "a slow day with friends", "child": "games with friends",
    # buildings: what they offer
    "house": "room for a family", "tower": "a wide view", "tent": "a simple stay outdoors",
    "windmill": "old beams and a fresh breeze",
    # plants: how to care for them
    "tree": "water the roots deeply once a week", "flower": "keep the soil moist and cut old stems",
    "cactus": "keep the soil dry and water {them} rarely",
    "mushroom": "keep the soil moist and {them} in the shade",
    "sign": "read {them} before you go on",
}  # fmt: skip
"""One phrase per kind; its use depends on the category."""

MEANINGS = {
    "OPEN": "visitors may come in", "SALE": "prices are low", "STOP": "everybody must halt",
    "CAFE": "coffee is served here", "EXIT": "this is the way out", "HOTEL": "guests can rent a room here",
    "BOOKS": "novels are sold here", "FRESH": "the goods were made today", "MUSIC": "songs can be heard here",
    "BEACH": "the sea is near", "PARK": "there is a place to rest nearby", "ZOO": "wild animals live here",
    "BREAD": "a baker works here", "TAXI": "cabs wait here", "FISH": "seafood is sold here",
    "TEA": "hot drinks are served here", "ICE": "it is cold or frozen here", "SHOP": "goods are sold here",
    "FARM": "milk and eggs come from here", "PORT": "ships land here", "SLOW": "everybody must take care",
    "HELLO": "visitors are welcome", "QUIET": "nobody should make noise", "FREE": "it costs nothing",
}  # fmt: skip
"""Meaning of each word on a sign."""

MOODS = {"sunny": "bright", "cloudy": "calm", "rainy": "wet", "snowy": "cold", "foggy": "silent", "night": "quiet",
         "indoor": "cosy"}  # fmt: skip
SKIES = {
    "sunny": "Warm light all around", "cloudy": "Soft clouds all around", "rainy": "Soft rain all around",
    "snowy": "Soft snow all around", "foggy": "Soft mist all around", "night": "Soft stars all around",
    "indoor": "Soft light all around",
}  # fmt: skip
"""Five syllables each: the last line of a haiku."""

PACK = {"sunny": "sun cream, a hat and water", "cloudy": "a light jacket, a snack and water",
        "rainy": "a raincoat, rubber boots and dry socks", "snowy": "warm gloves, thick boots and hot soup",
        "foggy": "a bright vest, a torch and a map", "night": "a torch, a warm jacket and a map",
        "indoor": "a map and water"}  # fmt: skip
"""What to pack, by weather."""
WEAR = {"sunny": "wear a hat and drink enough water", "cloudy": "take a light jacket",
        "rainy": "wear a raincoat and boots",
        "snowy": "wear gloves and walk with care", "foggy": "go slowly and stay together",
        "night": "take a torch and stay together", "indoor": "wear what you like"}  # fmt: skip
ROADS = {"sunny": "the view is clear", "cloudy": "the view is clear", "rainy": "the road is wet",
         "snowy": "the road is slippery", "foggy": "the view is short", "night": "it is dark, so use your lights",
         "indoor": "the view is clear"}  # fmt: skip
