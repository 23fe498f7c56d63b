"""A page as a browser takes it apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"img", "meta", "br", "wbr", "hr", "link", "input"}


@dataclass
class Page:
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    """(tag, name, value)."""
    text: str = ""
    """What is to be read, style sheets left out."""
    titles: list[str] = field(default_factory=list)
    """What charts tell on hovering."""
    unbalanced: list[str] = field(default_factory=list)


def read(html: str) -> Page:
    page = Page()
    parser = _Parser(page)
    parser.feed(html)
    parser.close()
    page.unbalanced += parser.open
    return page


class _Parser(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self.page, self.open = page, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags[tag] += 1
        self.page.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag not in ("rect", "line"):
            self.page.unbalanced.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.page.titles.append(data)
        elif "style" not in self.open:
            self.page.text += data
