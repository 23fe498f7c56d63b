from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from mminstruct import config
from mminstruct.models.backends import BACKENDS, find, load
from mminstruct.models.model import Model, Reply
from mminstruct.models.transcript import source
from mminstruct.recipe import check
from mminstruct.stage import identity
from tests.models.asking import rows

MINE = """
    import numpy as np

    from mminstruct.models.model import Reply


    class Echo:
        def __init__(self, model):
            if unknown := model.options.keys() - {"loud"}:
                raise ValueError(f"{model.name}: Echo has no options {unknown}")
            self.model = model

        def chat(self, messages, *, seeds, schema=None, sampling=None):
            sampling = sampling or self.model.sampling
            texts = [turns[-1]["content"] for turns in messages]
            texts = [text.upper() if self.model.options.get("loud") else text for text in texts]
            return [Reply(f"{text} {seed} {sampling.max_tokens}", "stop") for text, seed in zip(texts, seeds)]


    class Lengths:
        def __init__(self, model):
            pass

        def texts(self, texts):
            return np.array([[1.0, 0.0] if len(text) % 2 else [0.0, 1.0] for text in texts], np.float32)

        def images(self, images):
            return np.array([[1.0, 0.0]] * len(images), np.float32)


    class Half(Echo):
        chat = None

        def texts(self, texts):
            return []


    echo = Echo
    an_object = Half
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package outside of ours, on ``sys.path`` for one test."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "my_module.py").write_text(textwrap.dedent(MINE))
    (package / "broken.py").write_text("1 / 0\n")
    (package / "needy.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_package.my_module"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_a_backend_outside_of_the_package_chats(mine: str) -> None:
    model = Model(name="any", max_tokens=7, backend=f"{mine}:Echo", options={"loud": True})
    assert model.unknown() == []
    assert model.chat().chat(rows("a", "b"), seeds=[3, 4]) == [Reply("A 3 7", "stop"), Reply("B 4 7", "stop")]
    with pytest.raises(ValueError, match="does not embed; take transformers or open_clip"):
        model.embed()
    with pytest.raises(ValueError, match=r"Echo has no options .*soft"):
        Model(name="any", backend=f"{mine}:Echo", options={"soft": True}).chat()


def test_a_backend_outside_of_the_package_embeds(mine: str) -> None:
    model = Model(name="any", backend=f"{mine}:Lengths")
    assert np.array_equal(model.embed().texts(["a", "bb"]), [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="does not chat"):
        model.chat()


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("my_package.my_modul:Echo", "there is no module my_package.my_modul; install its package, or put its folder"),
        ("no_package.of_mine:Echo", "there is no module no_package"),
        ("my_package.needy:Echo", "my_package.needy imports a_library_that_nobody_has, which is not installed"),
        ("my_package.broken:Echo", "importing my_package.broken failed: ZeroDivisionError"),
        ("my_package.my_module:Ecko", "my_package.my_module has no Ecko; it has np, Reply, Echo"),
        ("my_package.my_module:Half", "is not a class with the method chat, or with texts and images"),
        ("my_package.my_module:np", "is not a class with the method chat, or with texts and images"),
        ("my_package.my_module", "is not one of vllm, openai, .*my_package.my_module:MyBackend"),
        ("transformer", "is not one of vllm, openai, .*did you mean transformers?"),
        (":Echo", "write my_package.my_module:MyClass"),
    ],
)
def test_a_backend_that_cannot_work_is_refused_before_a_run_starts(mine: str, backend: str, said: str) -> None:
    model = Model(name="any", backend=backend)
    (line,) = model.unknown()
    assert line.startswith("any: backend")
    with pytest.raises(ValueError, match=said):
        model.chat()


def test_the_command_line_names_a_backend_by_its_import_path(mine: str) -> None:
    config.register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        words = ["models=micro", "out=run", "source=images", "engine=local"]
        plain, own, wrong = (
            config.build(compose("build", words + more))[0].recipe
            for more in ([], [f"models.answerer.backend={mine}:Echo"], [])
        )
    assert own.answer.model.backend == f"{mine}:Echo"
    assert identity(own.answer.model) == identity(plain.answer.model)  # how a model is reached is no identity
    wrong.answer.model = Model(name="any", backend=f"{mine}:Ecko")
    with pytest.raises(ValueError, match=r"recipe.answer.model: any: backend=my_package.my_module:Ecko: .*has no Ecko"):
        check(wrong, installed=False)


def test_a_worker_loads_the_backend_from_its_import_path_alone(mine: str, tmp_path: Path) -> None:
    """A new process gets the pickled model, as a Ray worker does, and imports the module itself."""
    import pickle

    data = pickle.dumps(Model(name="any", max_tokens=7, backend=f"{mine}:Echo")).hex()
    code = (
        "import pickle, sys; model = pickle.loads(bytes.fromhex(sys.argv[1])); assert 'my_package' not in sys.modules;"
        "print(model.chat().chat([[{'role': 'user', 'content': 'a'}]], seeds=[3])[0].text)"
    )
    path = ":".join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code, data], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.strip() == "a 3 7"


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_of_the_table_has_the_methods_that_it_is_listed_for(name: str) -> None:
    backend = find(name)
    assert backend.chat or backend.embed
    assert backend.chat is None or callable(load(backend.chat).chat)
    assert backend.embed is None or (callable(load(backend.embed).texts) and callable(load(backend.embed).images))
    assert (backend.extra is None) or backend.package


@pytest.mark.parametrize("name", ["runs/tuned/train/model", "./model", "/nowhere/model", "~/model"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no such folder; a model of the Hugging Face hub is organisation/name"
    ):
        source(Model(name=name))


def test_a_name_of_the_hub_needs_no_folder() -> None:
    assert source(Model(name="organisation/name"))["local_files_only"] is False
