"""The rows on which people disagree, for an adjudicator."""

from __future__ import annotations

from collections.abc import Sequence

from mminstruct.reviewing.folder import find
from mminstruct.reviewing.lines import IDS, Row
from mminstruct.reviewing.votes import verdict, votes
from mminstruct.stage import Drop


def disputed(paths: Sequence[str]) -> tuple[frozenset[str], int]:
    """Ids of the rows that are disputed by the rule of ``votes``, and the number of lines that are no decisions.

    A row counts as disputed if people disagree on any text that it had.

    Args:
        paths: Files or folders of decisions, as ``recipe.decide.path`` takes them, in any order.

    Raises:
        ValueError: as for ``reviewing.folder.find``.
    """
    said: dict[tuple[str, str], list[Row]] = {}
    bad = 0
    for file in find(paths).decisions.values():
        for made in file.read():
            if isinstance(made, Drop):
                bad += made.reason != "superseded"
            else:
                said.setdefault((made[IDS[made["what"]]], made["shown"]), []).append(made)
    found = [id_ for (id_, _), rows in said.items() if verdict(votes(rows)[0]).decision == "disputed"]
    return frozenset(found), bad
