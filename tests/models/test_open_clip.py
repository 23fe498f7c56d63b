from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mminstruct.models.model import Model
from mminstruct.models.open_clip import Encoder, similarity
from mminstruct.models.transcript import picture
from mminstruct.unit import UNIT, Unit
from tests.models import tiny

PICTURES = [tiny.picture(seed, width=30 + seed, height=50 - seed) for seed in range(11)]


@pytest.fixture(scope="module")
def encoder(clip: Path) -> Encoder:
    return Encoder(Model(name=str(clip), backend="open_clip", options={"batch_size": 4, "text_batch_size": 3}))


@pytest.fixture
def unit() -> Iterator[Unit]:
    unit = Unit("match", "0")
    token = UNIT.set(unit)
    yield unit
    UNIT.reset(token)


@pytest.fixture(scope="module")
def reference(clip: Path) -> Any:
    import open_clip

    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{clip}")
    return model.eval(), prepare, open_clip.get_tokenizer(f"local-dir:{clip}")


def test_images_in_a_batch_are_embedded_as_by_open_clip_one_by_one(encoder: Encoder, reference: Any) -> None:
    import torch

    model, prepare, _ = reference
    got = encoder.images(PICTURES)
    assert got.dtype == np.float32
    assert got.shape == (11, 32)
    for data, vector in zip(PICTURES, got, strict=True):
        with torch.inference_mode():
            one = model.encode_image(prepare(Image.open(io.BytesIO(data)))[None], normalize=True)[0]
        assert vector == pytest.approx(one.numpy(), abs=1e-5)


def test_texts_in_a_batch_are_embedded_as_by_open_clip_one_by_one(encoder: Encoder, reference: Any) -> None:
    import torch

    model, _, words = reference
    texts = ["a red robot", "two trees", "", "write a story about the lantern", "count them"]
    for text, vector in zip(texts, encoder.texts(texts), strict=True):
        with torch.inference_mode():
            assert vector == pytest.approx(model.encode_text(words([text]), normalize=True)[0].numpy(), abs=1e-5)


def test_rows_have_unit_length_and_cosines_stay_in_range(encoder: Encoder) -> None:
    images, texts = encoder.images(PICTURES), encoder.texts(["a dog", "a cat"])
    assert np.linalg.norm(images, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=1e-6)
    cosines = similarity(images, texts)
    assert cosines.shape == (11, 2)
    assert np.abs(cosines).max() <= 1 + 1e-6


def test_equal_calls_give_equal_bytes(encoder: Encoder) -> None:
    assert encoder.images(PICTURES).tobytes() == encoder.images(PICTURES).tobytes()
    assert encoder.texts(["a", "b"]).tobytes() == encoder.texts(["a", "b"]).tobytes()


def test_a_broken_image_is_a_row_of_nan_and_the_others_stay(encoder: Encoder, unit: Unit) -> None:
    mixed = [PICTURES[0], b"no image", PICTURES[1][:70], PICTURES[2], b""]
    got = encoder.images(mixed)
    assert np.isnan(got).all(axis=1).tolist() == [False, True, True, False, True]
    assert got[[0, 3]] == pytest.approx(encoder.images([PICTURES[0], PICTURES[2]]), abs=1e-5)
    assert unit.notes == {"clip_image_broken": 3}
    assert np.isnan(encoder.images([b"x"])).all()


def test_texts_longer_than_the_context_are_counted(encoder: Encoder, unit: Unit) -> None:
    fits, over = "a " * 14, "a " * 15  # 16 places, two of them for start and end
    got = encoder.texts([fits, over, "a much longer text " * 9])
    assert unit.notes == {"clip_text_cut": 2}
    assert got[0] == pytest.approx(got[1], abs=1e-6)


def test_grey_palette_and_transparent_images_are_read_as_rgb(encoder: Encoder) -> None:
    def saved(mode: str) -> bytes:
        stream = io.BytesIO()
        Image.open(io.BytesIO(PICTURES[0])).convert(mode).save(stream, "PNG")
        return stream.getvalue()

    assert np.isfinite(encoder.images([saved(mode) for mode in ("L", "P", "RGBA", "LA")])).all()


def test_no_inputs_give_no_rows_but_the_right_width(encoder: Encoder) -> None:
    assert encoder.images([]).shape == encoder.texts([]).shape == (0, 32)


def test_half_precision_stays_close_to_full(encoder: Encoder, clip: Path) -> None:
    half = Encoder(Model(name=str(clip), backend="open_clip", options={"precision": "bf16"}))
    assert (half.images(PICTURES) * encoder.images(PICTURES)).sum(axis=1).min() > 0.999
    assert half.images(PICTURES).dtype == np.float32
    assert similarity(half.texts(["a dog"]), encoder.texts(["a dog"])).item() > 0.999


def test_the_models_own_scale_is_available(encoder: Encoder) -> None:
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert encoder.logit_bias == 0


def test_a_folder_without_weights_is_refused_and_not_initialised_at_random(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_bytes((clip / "open_clip_config.json").read_bytes())
    with pytest.raises(RuntimeError, match="pretrained weights"):
        Encoder(Model(name=str(tmp_path), backend="open_clip"))


@pytest.mark.parametrize(("name", "words"), [("ViT-B-32", "architecture/tag"), ("ViT-B-32/no-such-tag", "no-such-tag")])
def test_a_name_that_means_no_weights_is_refused(name: str, words: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=words):
        Encoder(Model(name=name, backend="open_clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.siglip(tmp_path_factory.mktemp("siglip"))


def test_siglips_cosines_rank_as_its_sigmoid_does(siglip: Path) -> None:
    import open_clip
    import torch

    encoder = Encoder(Model(name=str(siglip), backend="open_clip"))
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{siglip}")
    words = open_clip.get_tokenizer(f"local-dir:{siglip}")
    texts = ["A red robot.", "two trees!", "count them", "the LANTERN"]
    with torch.inference_mode():
        pixels = torch.stack([prepare(Image.open(io.BytesIO(data))) for data in PICTURES])
        cosines = model.encode_image(pixels, normalize=True) @ model.encode_text(words(texts), normalize=True).T
        theirs = torch.sigmoid(model.logit_scale.exp() * cosines + model.logit_bias).numpy()
    ours = similarity(encoder.images(PICTURES), encoder.texts(texts))
    assert encoder.logit_bias == -10
    assert 1 / (1 + np.exp(-encoder.logit_scale * ours - encoder.logit_bias)) == pytest.approx(theirs, abs=1e-6)
    assert (ours.argsort(axis=1) == theirs.astype(np.float64).argsort(axis=1)).mean() > 0.9  # ties aside


def test_texts_longer_than_siglips_context_are_counted_after_its_tokenizers_cleaning(siglip: Path, unit: Unit) -> None:
    encoder = Encoder(Model(name=str(siglip), backend="open_clip"))
    encoder.texts(["x" * 16, "x" * 17, "x!" * 16, "X - " * 3])
    assert unit.notes == {"clip_text_cut": 1}


def test_images_are_decoded_while_the_batch_before_them_is_encoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(Model(name=str(clip), backend="open_clip", options={"batch_size": 2, "decoders": 1}))
    decoded = threading.Event()
    decode, encode = encoder._pixels, encoder._net.encode_image

    def told(data: bytes) -> Any:
        if data == PICTURES[3]:
            decoded.set()
        return decode(data)

    def waiting(*args: Any, **rest: Any) -> Any:
        assert decoded.wait(60)  # the second batch is decoded before the first is encoded
        return encode(*args, **rest)

    monkeypatch.setattr(encoder, "_pixels", told)
    monkeypatch.setattr(encoder._net, "encode_image", waiting)
    assert np.isfinite(encoder.images(PICTURES[:4])).all()


def test_calls_at_once_share_the_decoders_and_wait_for_each_other_only_to_encode(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = threading.Event()
    decode = encoder._pixels

    def told(data: bytes) -> Any:
        decoding.set()
        return decode(data)

    monkeypatch.setattr(encoder, "_pixels", told)
    alone = encoder.images(PICTURES)
    decoding.clear()
    with encoder._lock, ThreadPoolExecutor(1) as other:  # as if another call were encoding
        waiting = other.submit(encoder.images, PICTURES)
        assert decoding.wait(60)
        assert not waiting.done()
        encoder._lock.release()
        assert waiting.result(60).tobytes() == alone.tobytes()
        encoder._lock.acquire()


def test_on_a_gpu_large_jpegs_are_decoded_at_a_fraction_that_hardly_changes_their_vectors(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    large = []
    for width, height in ((640, 480), (130, 129), (64, 64), (63, 200)):
        stream = io.BytesIO()
        Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        large.append(stream.getvalue())
    assert [picture(data, 32).size for data in large] == [(80, 60), (33, 33), (32, 32), (63, 200)]
    assert encoder._enough == 0  # on a CPU pixels are those of open_clip
    whole = encoder.images(large)
    monkeypatch.setattr(encoder, "_enough", 32)
    assert (encoder.images(large) * whole).sum(axis=1).min() > 0.99
