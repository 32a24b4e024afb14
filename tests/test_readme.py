"""The README's snippets and the contract, run as they are printed."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import npchar
from npchar.cli.options import parser

README = Path(__file__).parents[1] / "README.md"
SHORT = (
    'the will to power, and the soul of man: "what is it?" asked the old sage (hi--jkqxz). ' * 25
)


@pytest.fixture
def short_corpus(monkeypatch, tmp_path):
    """A corpus on which twenty epochs take a moment, and a folder for the files."""
    monkeypatch.setattr(npchar, "load_corpus", lambda *_, **__: SHORT)
    monkeypatch.chdir(tmp_path)


def snippets(path=README):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("path", [README, README.parent / "examples" / "README.md"])
def test_all_snippets_run_one_after_the_other(path, short_corpus):
    space = {}
    assert len(snippets(path)) >= 2
    for snippet in snippets(path):
        needs = re.findall(r"^import (torch|keras)", snippet, re.MULTILINE)
        if needs:
            try:
                __import__(needs[0])
            except ImportError:
                continue
            space["model"] = npchar.Model.pretrained("nietzsche-128")  # its sizes are theirs
        exec(compile(snippet, str(path), "exec"), space)


CONTRACT = """
text = npchar.load_corpus("nietzsche").lower()        # download once, cached; also a path or an https URL
vocabulary = npchar.Vocabulary.from_text(text)        # sorted; len(), encode(), decode()
view = npchar.windows(vocabulary.encode(text), maxlen=60, step=3)   # (n, 61) read-only view: 60 inputs and their next
model = npchar.Model(vocabulary, hidden_size=128, num_layers=1, dropout=0.0, seed=0, dtype="float32")
history = model.fit(text, epochs=20, maxlen=60, step=None, targets="all",      # "last" with step=3: the book's listing
                    batch_size=32, learning_rate=0.01, schedule="linear",       # to zero; "constant" and 128: the book's
                    clip_norm=1.0, validation_split=0.1, seed=0, callbacks=(), verbose=True)
history.loss, history.val_loss                        # per epoch, nats per character
model.evaluate(text)                                  # loss (nats/char) and bits per character of any text
model.score("the will to power")                      # per-character log-probabilities and their summary
model.generate("the will to ", 400, temperature=0.5, seed=1)          # -> str, prompt not included
for character in model.stream("the will to ", temperature=0.5, seed=1): break   # endless
model.save("nietzsche.npz"); model = npchar.Model.load("nietzsche.npz")
model.parameters["lstm0.Wx"]                          # named views
ids, targets = view[:4, :-1].T, view[:4, 1:].T
loss, gradient = model.loss_and_gradient(ids, targets)                # ids (T, B); targets (T, B), or (B,) for the last step alone; gradient["lstm0.Wx"]
loss, gradient = model.loss_and_gradient(ids, view[:4, -1])
probabilities, rng = [0.2, 0.5, 0.3], numpy.random.default_rng(1)
npchar.reweight_distribution(probabilities, temperature=0.5)          # the book's function, made safe
npchar.sample(probabilities, temperature=1.0, rng=rng)                # -> index
npchar.RMSprop, npchar.LSTM, npchar.Dense, npchar.softmax_cross_entropy, npchar.check_gradients
"""  # noqa: E501


def test_the_contract(short_corpus):
    import numpy

    space = {"npchar": npchar, "numpy": numpy}
    exec(CONTRACT, space)
    history, model, view = space["history"], space["model"], space["view"]
    assert len(history.loss) == len(history.val_loss) == 20
    assert view.shape[1] == 61
    assert not view.flags.writeable
    assert len(model.generate("the will to ", 400, temperature=0.5, seed=1)) == 400
    V, H = len(model.vocabulary), 128
    shapes = {name: array.shape for name, array in model.parameters.items()}
    assert shapes == {"lstm0.Wx": (4, V, H), "lstm0.Wh": (4, H, H), "lstm0.b": (4, H),
                      "dense.W": (H, V), "dense.b": (V,)}  # fmt: skip
    assert space["gradient"]["lstm0.Wx"].shape == (4, V, H)


def test_its_commands_exist_and_no_link_is_dead():
    root = README.parent
    pages = [*root.glob("*.md"), *root.glob("[bet]*/README.md")]
    assert len(pages) == 7
    for path in pages:
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.relative_to(root)}: {link}"
    recipes = README.read_text(encoding="utf-8").partition("## Recipes")[2].partition("\n## ")[0]
    commands = re.findall("`npchar ([^`]*)`", recipes)
    assert len(commands) >= 8
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_the_picture_is_drawn_by_its_command(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    example = runpy.run_path(str(README.parent / "examples" / "coloured.py"))
    example["draw"](tmp_path / "coloured.png")
    drawn, shown = (tmp_path / "coloured.png", README.parent / "examples" / "coloured.png")
    assert drawn.read_bytes()[:24] == shown.read_bytes()[:24]  # a PNG of the same size
    assert shown.stat().st_size < 60_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["music.py", "--tunes", "40", "--epochs", "1"],
        ["words.py", "text.txt", "--epochs", "1", "--least", "1"],
    ],
)
def test_the_examples_on_tokens_run(arguments, short_corpus, monkeypatch, capsys):
    Path("text.txt").write_text(SHORT)
    example = README.parent / "examples" / arguments[0]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(example), run_name="__main__")
    out = capsys.readouterr().out
    assert ended.value.code == 0, out
    if arguments[0] == "music.py":
        assert Path("tune.abc").read_text().count("X:") == 8


def test_the_grammar_composes_full_bars():
    import numpy

    music = runpy.run_path(str(README.parent / "examples" / "music.py"))
    rng = numpy.random.default_rng(0)
    for _ in range(200):
        tune = music["composed"](rng)
        assert music["full_bars"](tune) == (8, 8)
    assert music["full_bars"](["M:4/4", "G2", "|", "C8", ":|"]) == (1, 2)


def test_the_chinese_quick_start(tmp_path, monkeypatch):
    """Its snippets, one after the other, on texts as it tells of; and its commands exist."""
    guide = README.with_name("README.zh.md").read_text(encoding="utf-8")
    line = "却说那日天气晴和,众人都在园中赏花。"
    Path(tmp_path, "wenji.txt").write_text(f"{line}\n" * 90 + "龘\n", encoding="utf-8")
    Path(tmp_path, "renming.txt").write_text("张三\n李四\n王小二\n" * 20, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    fit = npchar.Model.fit
    quick = {"epochs": 2, "workers": 1, "verbose": False}
    monkeypatch.setattr(npchar.Model, "fit", lambda *a, **named: fit(*a, **named | quick))
    space = {}
    snippets = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, "README.zh.md", "exec"), space)
    assert "龘" not in space["vocabulary"]
    assert len(space["made"]) == 10
    assert "新" in space["more"].vocabulary
    for command in re.findall(r"^    npchar (.*?)(?: {2,}#.*)?$", guide, re.MULTILINE):
        parser().parse_args(shlex.split(command))
