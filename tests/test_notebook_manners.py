"""Output in notebooks: text, HTML and plots."""

import html.parser
import math

import numpy as np
import pytest

import npchar
from npchar.training.progress import Progress


class Balanced(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag != "br":
            self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def fitted():
    text = "<the> cat & the rat sat on the mat. " * 30
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8, num_layers=2)
    history = model.fit(text, epochs=2, maxlen=20, batch_size=8, verbose=False, workers=1)
    return model, history, text


def test_everything_is_sound_html(fitted):
    model, history, text = fitted
    words = npchar.Vocabulary.from_text(["<b>", "a", "&"])
    for thing in (
        *(model, history, model.vocabulary, words, model.score(text[:50])),
        npchar.originality(text[:80], text),
        model.activations(text[:40]).html(3),
        npchar.History(),
    ):
        Balanced(thing._repr_html_())
    assert Balanced(history._repr_html_()).seen.count("tr") == 3
    assert "&lt;b&gt;" in words._repr_html_()


def test_the_summary_counts_right(fitted, capsys):
    model, _, _ = fitted
    model.summary()
    shown = capsys.readouterr().out
    counts = [int(line.split()[4].replace(",", "")) for line in shown.splitlines()[1:4]]
    assert sum(counts) == model.parameters.flat.size
    assert f"{model.parameters.flat.size:,} float32 parameters" in shown


def test_a_notebooks_cell_is_not_flooded(monkeypatch, capsys):
    shown = []
    now = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(now) / 100)  # a step takes 0.01 s

    class Display:
        def update(self, data, raw):
            assert raw
            shown.append(data["text/plain"])

    monkeypatch.setattr("npchar.training.progress.notebook_display", Display)
    progress = Progress(2, 1000, "character")
    history = npchar.History()
    progress.begin(history, 0, False)
    for step in range(1, 500):
        progress.update(0, step / 500, 2.5)
    history.baselines["uniform"] = 3.0
    history.loss.append(2.0)
    history.seconds.append(1.0)
    progress.end_epoch(history)
    assert capsys.readouterr().out == ""
    assert 15 < len(shown) < 30  # 500 steps take five seconds
    assert shown[-1].count("\n") == 1
    assert "epoch 1/2  loss 2.0000" in shown[-1]


def end_early(history):
    if len(history.loss) == 2:
        raise KeyboardInterrupt


def test_an_interrupted_fit_ends_in_a_line_and_leaves_its_history(text, model, tmp_path):
    settings = {"epochs": 9, "maxlen": 20, "workers": 1, "verbose": False}
    assert model.history.loss == []
    with pytest.raises(KeyboardInterrupt) as ended:
        model.fit(text, callbacks=[end_early], **settings)
    assert len(model.history.loss) == 2
    line = (
        "interrupted after 2 of 9 epochs. The model has the weights of the last step, "
        "and model.history has the losses"
    )
    assert ended.value._render_traceback_() == [line]
    path = tmp_path / "run.npz"
    for stop in (end_early, lambda history: end_early(npchar.History(history.loss[2:]))):
        with pytest.raises(KeyboardInterrupt, match=r"run\.npz, .* resume=True"):
            model.fit(text, checkpoint=path, resume=path.exists(), callbacks=[stop], **settings)
    assert len(model.history.loss) == 4
    assert model.fit(text, checkpoint=path, resume=True, **settings) is model.history


def test_plots(fitted):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    model, history, text = fitted
    ax = history.plot()
    for line, losses in zip(ax.lines, (history.loss, history.val_loss)):
        assert line.get_ydata().tolist() == losses
        assert line.get_xdata().tolist() == [1, 2]
    assert ax.get_xlabel() == "epoch"
    ax.figure.canvas.draw()
    entropies = model.entropies(text, (0, 1, 2))
    ax = npchar.plot_entropies((0, 1, 2), entropies, len(model.vocabulary))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), entropies)
    assert ax.lines[1].get_ydata()[0] == math.log(len(model.vocabulary))
    ax.figure.canvas.draw()


def test_without_matplotlib(fitted, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        fitted[1].plot()
