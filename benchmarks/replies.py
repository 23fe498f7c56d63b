"""Measures false positives and recall of the rules for model replies, by kind of fault.

    python -m benchmarks.replies [--scenes 1500] [--docs 20000]

Good texts: captions, descriptions, instructions and answers of the microworld; the shipped instructions and prompts;
handwritten answers of many forms (``tests/text/replies.py``); paragraphs from the documentation and licences of all
installed packages; the translations in 200 languages that ``pycountry`` ships. Faults: those in
``tests/text/replies.py``, which were written with knowledge of the rules; and, independent of the rules, all special
tokens that occur in the sources of the installed ``transformers`` and ``vllm``.
"""

from __future__ import annotations

import argparse
import gettext
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from mminstruct.microworld.families import lessons
from mminstruct.microworld.scene import draw_scene
from mminstruct.text.leaks import leak
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import spoken
from tests.text.replies import BUS, FOUND, PASSES, REFUSALS, TAKEN_OFF
from tests.text.test_rules import GOOD

SEEDS = [
    text
    for texts in yaml.safe_load((Path(__file__).parents[1] / "conf" / "seeds.yaml").read_text("utf-8")).values()
    for text in texts
]
SITE = Path(sysconfig.get_paths()["purelib"])
Text = tuple[str, str]
"""(request, answer)."""
_NAMED = re.compile(
    r"(?:token|start|end|begin|think|reason|bos|eos|pad)\w*(?:: str)?\s*[=:]\s*r?[\"']([^\"'\s]{2,40})[\"']"
    r"|AddedToken\(\s*[\"']([^\"'\s]{2,40})[\"']|return [\"']([<\[][^\"'\s]{2,40})[\"']",
    re.IGNORECASE,
)
_SHAPED = re.compile(r"<.*\w.*>|\[.*\w.*\]|.*[▁｜◁▷].*|\|\w+\|")


def world(scenes: int) -> Iterator[Text]:
    """Training texts of the embedded models."""
    for number in range(scenes):
        scene, rng = draw_scene(number, 1000), random.Random(f"replies {number}")
        yield "", lessons.caption_example(scene)
        yield "", str(lessons.fuse_example(scene, rng)["target"])
        yield "", lessons.instruct_example(scene, rng, "train", SEEDS)[1]
        values, answer = lessons.answer_example(scene, rng, "train")
        yield values["instruction"], answer


def paragraphs(most: int) -> Iterator[Text]:
    """Paragraphs of documentation, as answers to a request for documentation."""
    found: set[str] = set()
    for pattern in ("**/*.md", "**/*.rst", "*.dist-info/METADATA", "**/LICENSE*", "**/*.txt"):
        for file in sorted(SITE.glob(pattern)):
            if file.is_file() and file.stat().st_size < 2_000_000:
                text = file.read_text(encoding="utf-8", errors="ignore")
                found |= {piece.strip() for piece in re.split(r"\n\s*\n", text) if 20 < len(piece) < 3000}
    chosen = sorted(found)
    random.Random(0).shuffle(chosen)
    return (("Write technical documentation in Markdown, with code.", text) for text in chosen[:most])


def translations() -> Iterator[Text]:
    """Names of countries, languages and currencies, in all languages of pycountry."""
    for file in sorted((SITE / "pycountry" / "locales").glob("**/*.mo")):
        with file.open("rb") as opened:
            said = gettext.GNUTranslations(opened)._catalog  # type: ignore[attr-defined]
        yield from (("", text) for name, text in sorted(said.items(), key=str) if name and isinstance(text, str))


def known_tokens() -> list[str]:
    """Special tokens in the sources of installed libraries."""
    found: set[str] = set()
    for folder in ("transformers", "vllm", "open_clip"):
        for file in (SITE / folder).glob("**/*.py"):
            for match in _NAMED.finditer(file.read_text(encoding="utf-8", errors="ignore")):
                token = next(group for group in match.groups() if group)
                if _SHAPED.fullmatch(token):
                    found.add(token)
    return sorted(found)


def alarms(name: str, texts: Iterator[Text]) -> None:
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    total = 0
    for asked, text in texts:
        total += 1
        said = spoken(text)
        found = leak(said, asked)
        kind = found[0] if found else "refusal" if refusal(said) else "changed" if said != spoken(said) else None
        if kind:
            kinds[kind] += 1
            examples.setdefault(kind, found[1] if found else said[:60])
    listed = ", ".join(f"{kind} {count} ({examples[kind]!r})" for kind, count in kinds.most_common()) or "none"
    print(f"| {name} | {total:,} | {sum(kinds.values())} | {listed} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--docs", type=int, default=20_000)
    options = parser.parse_args()
    print("| good texts | n | found | kinds |\n|---|---|---|---|")
    alarms("the embedded world", world(options.scenes))
    alarms("shipped instructions", (("", text) for text in SEEDS))
    alarms("written answers", iter([*PASSES, *GOOD]))
    alarms("documentation and licences", paragraphs(options.docs))
    alarms("translations", translations())
    print("\n| faults | n | found | missed |\n|---|---|---|---|")
    for kind, replies in FOUND.items():
        named = [(leak(spoken(reply.replace("{}", BUS))) or ("",))[0] for reply in replies]
        missed = [reply for reply, name in zip(replies, named, strict=True) if not name]
        print(f"| {kind} | {len(replies)} | {len(replies) - len(missed)} | {missed or ''} |")
    missed = [reply for reply in REFUSALS if not refusal(reply)]
    print(f"| refusals | {len(REFUSALS)} | {len(REFUSALS) - len(missed)} | {missed or ''} |")
    missed = [reply for reply in TAKEN_OFF if spoken(reply.replace("{}", BUS)) != BUS]
    print(f"| taken off, the text is whole | {len(TAKEN_OFF)} | {len(TAKEN_OFF) - len(missed)} | {missed or ''} |")
    tokens = known_tokens()
    for asked in ("", "Write Python code."):
        missed = [token for token in tokens if not leak(f"A red bus {token} waits at the market.", asked)]
        print(
            f"| tokens of installed libraries{', asked for code' if asked else ''} | {len(tokens)} "
            f"| {len(tokens) - len(missed)} | {' '.join(missed)} |"
        )


if __name__ == "__main__":
    main()
