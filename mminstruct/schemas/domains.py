"""Tables that only the recipe ``domains`` has."""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.columns import column, table
from mminstruct.schemas.ids import image_id
from mminstruct.schemas.turn import TURN

RETRIEVE = table(
    "The domain of each image: the one whose texts and seed images are nearest to it in CLIP's space.",
    image_id("id"),
    column("domain", pa.string(), "name of the domain, as in its file"),
    column("similarity", pa.float32(), "cosine of the image and what is nearest to it in the domain, -1 to 1"),
    column(
        "margin",
        pa.float32(),
        "lead over the next domain, cosine units, after each domain's mean is subtracted; null: only one domain",
        null=True,
    ),
    column("nearest", pa.string(), "the text or the seed image that is nearest"),
)


TRANSCRIBE = table(
    "The words that can be read in each image.",
    image_id("id"),
    column("words", pa.list_(pa.string()), "as written, one for each sign or line, in reading order", tag="text"),
    column("origin", pa.string(), "sidecar (they came with the image) or model"),
)


_FAULT = (
    column("fault", pa.string(), "why verify drops it; null: none was found", null=True),
    column("detail", pa.string(), "of the fault", null=True),
)


ASK = table(
    "Questions with answers about each image, of several kinds, from templates of its domain (MMInstruct). "
    "Here pair_id of a row with a fault also covers its kind and number, since two such rows may be alike.",
    *TURN,
    *_FAULT,
)


CONVERSE = table(
    "The rows of ask, and a conversation of several rounds about each image that continues from them.",
    *TURN,
    *_FAULT,
)


VERIFY = table(
    "The questions that a second model answers alike from the description. The others are in _dropped with their text.",
    *TURN,
    column("checked", pa.list_(pa.string()), "what was tried: description, blind, image; empty: not sampled"),
    column("agrees", pa.bool_(), "whether the answer from the description is the same; null: not tried", null=True),
    column("blind", pa.float32(), "share of right answers without description, 0 to 1; null: not tried", null=True),
    column("seen", pa.bool_(), "whether the answer from the image itself is the same; null: not tried", null=True),
)
