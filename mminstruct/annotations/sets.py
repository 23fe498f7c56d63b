"""One annotation set of the configuration: its files, and the facts that show whether they changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mminstruct.annotations import AnnotationFormat, SetFile, format_class
from mminstruct.sources.facts import digest, facts
from mminstruct.sources.listing import Listing, list_path
from mminstruct.sources.source import Shard
from mminstruct.stage import CHANGED, content_id, where


@dataclass(kw_only=True)
class AnnotationSet:
    """Where a set's files are: on a disk or at any fsspec URL, plain or compressed (gzip, bz2, xz, ZIP of one file)."""

    format: str
    """coco_captions, vqa, vqa_e, tallyqa, vsr, aokvqa, vg_qa, paragraph, cocoqa or stvqa; package.module:Class is a
    format of your own."""
    path: str = where()
    """The file of annotations; the folder for cocoqa."""
    questions: str | None = where(None)
    """The file of questions, for vqa."""
    images: str | None = where(None)
    """Visual Genome's image_data.json, for vg_qa, paragraph, tallyqa and stvqa: which of its images are also COCO's."""
    licence: str | None = None
    """Licence of annotations that name none themselves."""
    split: str | None = None
    """Only records of this split, for aokvqa (train, val, test) and stvqa; null: all."""

    def faults(self) -> list[str]:
        """Configuration errors, one line each."""
        try:
            made = format_class(self.format)
        except ValueError as error:
            return [str(error)]
        found = [] if self.path else ["path is empty: give a file, a folder for cocoqa, or a URL"]
        for name in ("questions", "images"):
            given = getattr(self, name)
            if given and name not in (*made.needs, *made.takes):
                found.append(f"{name}={given}: format={self.format} has none; leave it out")
            if not given and name in made.needs:
                found.append(f"{name} is missing: format={self.format} needs the file of {name}, too")
        if self.split and made.split_field is None:
            found.append(f"split={self.split}: records of format={self.format} name no split; leave it out")
        return found

    def reader(self) -> AnnotationFormat:
        """The format over this set's files.

        Raises:
            ValueError: as ``listings`` does.
        """
        files = {
            role if listing.single else f"{role}/{name}": SetFile(
                listing.fs, file.path, listing.url if listing.single else f"{listing.url.rstrip('/')}/{name}"
            )
            for role, listing in self.listings().items()
            for name, file in listing.files.items()
        }
        return format_class(self.format)(files, self.split)

    def listings(self) -> dict[str, Listing]:
        """The files of each field that names some, and no others.

        Raises:
            ValueError: a file is missing, or a folder is given for a file or a file for a folder.
        """
        members = format_class(self.format).members
        found: dict[str, Listing] = {}
        for role in ("path", "questions", "images"):
            if not (url := getattr(self, role)):
                continue
            try:
                listing = list_path(url)
            except ValueError as error:
                said = str(error).removeprefix("path").partition(": give")[0]
                wanted = f"the folder that holds {', '.join(members)}" if members and role == "path" else "one file"
                raise ValueError(f"{role}{said}: give {wanted}") from None
            if members and role == "path":
                if missing := [name for name in members if name not in listing.files]:
                    raise ValueError(
                        f"path={url} lacks {', '.join(missing)}: give the folder that holds {', '.join(members)}"
                    )
                files = {name: listing.files[name] for name in sorted(members)}
                listing = Listing(listing.fs, url, files)
            elif not listing.single:
                some = ", ".join(list(listing.files)[:3])
                raise ValueError(f"{role}={url} is a folder or a pattern ({some}): give one file")
            found[role] = listing
        return found


def facts_of(listings: dict[str, Listing]) -> dict[str, Any]:
    """Names, sizes and ETags or times of change of a set's files, for ``Stage.shards``."""
    found: dict[str, Any] = {}
    changed = []
    for role, listing in listings.items():
        one = facts(listing, Shard(role, tuple(listing.files)))
        changed.append(str(one.pop(CHANGED, "")))
        found |= {f"{role} {fact}": value for fact, value in one.items() if fact != "shard"}
    return {**found, CHANGED: content_id(*changed)}


def digest_of(listings: dict[str, Listing]) -> str | None:
    """A digest of the bytes of those of a set's files that are on a local disk; None if one has changed since."""
    found = []
    for listing in listings.values():
        one = facts(listing, Shard("", tuple(listing.files)))
        if CHANGED not in one:  # on a store: its ETags are facts
            continue
        if (known := digest(listing, listing.files)) is None:
            return None
        found.append(known)
    return content_id(*found)
