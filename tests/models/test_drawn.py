"""Pictures that are not drawn, shown to models that know drawn scenes only."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from mminstruct.microworld.drawn import draw
from mminstruct.models.drawn import SAID, WarningChat, WarningEmbed, decoded, features, not_drawn
from mminstruct.models.model import Model, Reply, with_image
from mminstruct.unit import UNIT, Unit


def coded(image: Image.Image, quality: int = 90, scale: float = 1.0) -> bytes:
    buffer = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def photographs() -> list[bytes]:
    """Five, in colour and in grey."""
    hopper = Image.open(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg"), formats=["JPEG"])
    found = [Image.fromarray(pixels) for pixels in load_sample_images().images] + [hopper]
    return [coded(one) for one in found] + [coded(one.convert("L"), quality=70, scale=0.5) for one in found[:2]]


@pytest.mark.parametrize("again", [lambda data: data, lambda data: coded(decoded(data), 40, 0.7)], ids=["", "again"])
def test_no_drawn_scene_is_taken_for_a_photograph(again: Callable[[bytes], bytes]) -> None:
    scenes = list(draw(range(60), seed=3))
    assert {scene.scene.style for scene in scenes} == {"flat", "outlined", "photo"}
    assert not not_drawn([decoded(again(scene.jpeg)) for scene in scenes]).any()


def test_photographs_noise_and_pages_of_text_are_not_drawn() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    page = np.full((300, 200, 3), 255, np.uint8)
    page[20:280:12, 20:180] = np.random.default_rng(1).choice([0, 255], (22, 160, 1))
    others = [*photographs(), coded(noise), coded(Image.fromarray(page))]
    assert not_drawn([decoded(data) for data in others]).all()


def test_features_are_shares_of_the_same_picture_at_any_size() -> None:
    tall = Image.new("RGB", (30, 900), (200, 40, 40))
    ((colours, sizes),) = [(found[:512] ** 2, found[512:] ** 2) for found in features([tall])]
    assert (colours.max(), colours.sum()) == (1, 1)
    assert sizes.sum() == pytest.approx(1 + 6, abs=1e-5)  # one colour, and six histograms of steps that are all 0
    assert features([]).shape == (0, len(features([tall])[0]))


class Blind:
    """A model that answers without looking."""

    def chat(self, messages: list[object], **_: object) -> list[Reply]:
        return [Reply("a bus", "stop") for _ in messages]

    def images(self, images: list[bytes]) -> np.ndarray:
        return np.ones((len(images), 1), np.float32)


def test_a_unit_counts_the_pictures_that_are_not_drawn_and_those_that_were_looked_at() -> None:
    (drawn,) = draw([1], seed=3)
    seen = [drawn.jpeg, *photographs(), b"no image"]
    messages = [with_image([{"role": "user", "content": "What is here?"}], data) for data in seen]
    unit = Unit(table="caption", key="a")
    token = UNIT.set(unit)
    try:
        assert len(WarningChat(Blind()).chat(messages, seeds=[0] * len(seen))) == len(seen)  # type: ignore[arg-type]
        assert unit.warnings == {SAID: [5, 6]}
        assert len(WarningEmbed(Blind()).images(seen)) == len(seen)  # type: ignore[arg-type]
        assert unit.warnings == {SAID: [10, 12]}
    finally:
        UNIT.reset(token)


@pytest.mark.slow
def test_only_embedded_models_warn(clip: Path) -> None:
    assert isinstance(Model(name="micro:clip", backend="open_clip").embed(), WarningEmbed)
    assert isinstance(Model(name="micro:llm").chat(), WarningChat)
    assert not isinstance(Model(name=str(clip), backend="open_clip").embed(), WarningEmbed)
