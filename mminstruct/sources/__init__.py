"""Where images come from: folders, archives, tables and addresses, each read as a stream of samples and drops.

``layout.LAYOUTS`` is the table of all sources; ``ImageSource`` is what each of them, and one of your own, implements.
"""

from mminstruct.sources.listing import File, Listing, list_path
from mminstruct.sources.sample import Sample, SampleAssembler, ShardError
from mminstruct.sources.source import ImageSource, Options, Shard
from mminstruct.stage import Drop

__all__ = [
    "Drop", "File", "ImageSource", "Listing", "Options", "Sample", "SampleAssembler", "Shard", "ShardError",
    "list_path",
]  # fmt: skip
