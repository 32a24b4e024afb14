"""Model as a user sees it: training, scoring, generation, and error messages."""

import functools
import itertools
import math
import re

import numpy as np
import pytest

import npchar
from npchar import Model, Vocabulary

QUIET = {"maxlen": 20, "batch_size": 8, "verbose": False}


@pytest.fixture(scope="module")
def trained():
    text = "the cat sat on the mat, and the rat sat on the cat. " * 60
    model = Model(Vocabulary.from_text(text), hidden_size=24)
    history = model.fit(text, epochs=8, workers=1, **QUIET)
    return model, history, text


def test_it_learns(trained):
    model, history, text = trained
    assert len(history.loss) == len(history.val_loss) == len(history.seconds) == 8
    assert history.val_loss[-1] < 0.35 < history.loss[0]
    assert model.generate("the cat sat on ", 30, temperature=0)[:7] in ("the mat", "the cat")
    held_out = text[len(text) - len(text) // 10 :]
    assert model.evaluate(held_out).loss == pytest.approx(min(history.val_loss), rel=1e-12)


def test_same_seed_same_bits(text):
    def run(seed, **options):
        model = Model(Vocabulary.from_text(text), hidden_size=8, num_layers=2, dropout=0.3)
        history = model.fit(text[:800], epochs=1, seed=seed, **QUIET, **options)
        return model.parameters.flat.tobytes(), history.loss, history.val_loss

    for workers in (1, 2):
        assert run(3, workers=workers) == run(3, workers=workers)
    assert run(3) != run(4)
    one, two = Model(Vocabulary("ab"), seed=1), Model(Vocabulary("ab"), seed=2)
    assert (one.parameters.flat != two.parameters.flat).any()


def test_generation_repeats_with_its_seed(trained):
    model, _, _ = trained
    written = model.generate("the ", 50, temperature=0.8, seed=5)
    assert len(written) == 50
    assert written == model.generate("the ", 50, temperature=0.8, seed=5)
    assert written != model.generate("the ", 50, temperature=0.8, seed=6)
    stream = model.stream("the ", temperature=0.8, seed=5)
    assert "".join(itertools.islice(stream, 50)) == written


def test_a_stream_depends_on_its_own_seed_alone(trained):
    model, _, _ = trained
    prompts = ["the cat ", "a", "the cat ", "and the rat sat"]
    together = model.generate(prompts, 60, temperature=[0.5, 1, 1.5, 0.8], seed=[7, 8, 7, 9])
    alone = [
        model.generate(prompt, 60, temperature=temperature, seed=seed)
        for prompt, temperature, seed in zip(prompts, [0.5, 1, 1.5, 0.8], [7, 8, 7, 9])
    ]
    assert together == alone
    counting = model.generate(prompts[:2], 60, seed=3)
    assert counting == [model.generate(p, 60, seed=s) for p, s in zip(prompts, (3, 4))]


def test_stop_strings(trained):
    model, _, _ = trained
    whole = model.generate("the ", 400, temperature=0.9, seed=3)
    for stop in (". ", "sat on", ["rat", "cat"], ["t", "the"]):
        stops = [stop] if isinstance(stop, str) else stop
        end = min(whole.index(one) for one in stops)
        options = {"temperature": 0.9, "seed": 3, "stop": stop}
        assert model.generate("the ", 400, **options) == whole[:end]
        assert "".join(model.stream("the ", **options)) == whole[:end]
    assert model.generate("the ", 400, temperature=0.9, seed=3, stop="~") == whole
    several = model.generate(["the "] * 2, 400, temperature=0.9, seed=[3, 4], stop=". ")
    assert several[0] == whole[: whole.index(". ")]
    other = model.generate("the ", 400, temperature=0.9, seed=4)
    assert several[1] == other[: other.index(". ")]
    assert len(several[0]) != len(several[1])


def test_score_is_the_chain_rule(trained):
    model, _, text = trained
    sample = text[:1500]  # longer than one chunk
    score = model.score(sample)
    assert score.log_probabilities.shape == (1499,)
    logits, _ = model.network.logits(model.vocabulary.encode(sample)[:-1, None])
    expected, _ = npchar.softmax_cross_entropy(
        logits[:, 0].astype(float), model.vocabulary.encode(sample)[1:]
    )
    assert score.loss == pytest.approx(float(expected), rel=1e-6)
    assert score.bits_per_character == pytest.approx(score.loss / math.log(2))
    assert score.loss < 0.3


def test_gradient_as_the_contract_names_it(trained):
    model, _, text = trained
    ids = model.vocabulary.encode(text[:22]).reshape(11, 2)
    loss, gradient = model.loss_and_gradient(ids[:-1], ids[1:])
    assert isinstance(loss, float)
    assert gradient["lstm0.Wx"].shape == model.parameters["lstm0.Wx"].shape
    assert {name: array.shape for name, array in model.parameters.items()} == {
        "lstm0.Wx": (4, len(model.vocabulary), 24),
        "lstm0.Wh": (4, 24, 24),
        "lstm0.b": (4, 24),
        "dense.W": (24, len(model.vocabulary)),
        "dense.b": (len(model.vocabulary),),
    }
    assert all(np.shares_memory(a, model.parameters.flat) for a in model.parameters.values())


def small():
    return Model(Vocabulary("abc"), hidden_size=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Model(Vocabulary("a")), "at least two characters, got only 'a'"),
        (lambda: Model(Vocabulary("ab"), hidden_size=0), "hidden_size is 0"),
        (lambda: Model(Vocabulary("ab"), dropout=1), "dropout is 1"),
        (lambda: Model(Vocabulary("ab"), layer="conv", recurrent_dropout=0.1), "recurrent"),
        (lambda: Model(Vocabulary("ab"), dtype="int8"), "dtype is 'int8'"),
        (lambda: small().generate("a", temperature="0.5"), "temperature is '0.5'"),
        (lambda: npchar.check_gradients(small(), samples=0), "samples is 0"),
        (lambda: small().loss_and_gradient([[0.5]], [[1]]), "integer ids"),
        (
            lambda: small().loss_and_gradient(np.empty((0, 2), int), np.empty((0, 2), int)),
            "non-empty",
        ),
        (lambda: small().fit(""), "for training .*got 0 and 0"),
        (lambda: small().fit("abc" * 20), "at least maxlen .*got 54 and 6"),
        (lambda: small().fit("abc" * 40), "got 108 and 12; .*maxlen"),
        (lambda: small().fit("abc" * 900, maxlen=0), "maxlen is 0"),
        (lambda: small().fit("abc" * 900, workers=0), "workers is 0"),
        (lambda: small().fit("abc" * 900, workers="many"), "workers is 'many'"),
        (lambda: small().fit("abc" * 900, targets="some"), "targets is 'some'"),
        (lambda: small().fit("abc" * 900, learning_rate=0), "learning_rate is 0"),
        (lambda: small().fit("abc" * 900, validation_split=1), "validation_split is 1"),
        (lambda: small().fit("abcx" * 900), "'x'.*position 3"),
        (lambda: small().generate(""), "at least 1 char.*got ''"),
        (lambda: small().generate("abz"), "'z'.*position 2"),
        (lambda: small().generate([]), "at least one prompt"),
        (lambda: small().generate("a", 0), "length is 0"),
        (lambda: small().generate("a", top_k=0), "top_k is 0"),
        (lambda: small().generate("a", no_repeat=1.5), "no_repeat is 1.5"),
        (lambda: small().generate("a", stop=""), "stop is ''"),
        (lambda: small().generate(["a", "b"], seed=[1]), "a list of 2, .*got a list of 1"),
        (lambda: small().generate("a", temperature=-1), "temperature is -1"),
        (
            lambda: small().generate(["a", "b"], temperature=[1, 1, 1]),
            "a list of 2, .*got a list of 3",
        ),
        (lambda: small().evaluate("a"), "at least 2 char"),
        (lambda: small().score(""), "at least 2 char"),
        (lambda: small().loss_and_gradient(np.zeros((3, 2), int), np.zeros(3, int)), "shape"),
        (lambda: small().loss_and_gradient(np.full((3, 2), 7), np.zeros(2, int)), "0 to 2"),
        (lambda: small().loss_and_gradient([[0], [0]], [-1]), "targets from 0 to 2, got -1 to -1"),
        (lambda: Model("abc"), "Vocabulary.from_text"),
        (lambda: small().fit(None), "expected a str or a list of documents, got NoneType"),
        (lambda: small().generate(5), "got int"),
        (lambda: small().generate(b"ab"), "got bytes"),
        (lambda: small().stream(["ab"]), "got list"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "verb",
    [
        npchar.Model.fit, npchar.Model.evaluate, npchar.Model.score, npchar.Model.activations,
        npchar.Model.saliency, functools.partial(npchar.Model.entropies, temperatures=[1]),
    ],
)  # fmt: skip
def test_advice_about_unknown_characters_can_be_followed(verb):
    text = "abc" * 30 + "x" + "abc" * 300
    model = small()
    with pytest.raises(npchar.UnknownCharacterError, match="'x'.*position 90") as error:
        verb(model, text)
    advice = re.search(r"text = (vocabulary\.decode\(.*'\)\));", str(error.value))[1]
    mended = eval(advice, {"vocabulary": model.vocabulary, "text": text})
    assert mended == text.replace("x", "")


def test_one_prompt_in_a_list_is_a_list(trained):
    model, _, _ = trained
    assert model.generate(["the "], 9, seed=1) == [model.generate("the ", 9, seed=1)]


def test_fit_examines_the_text_as_it_will_use_it(capsys):
    text = "to be or not to be " * 700 + "z" * 4000
    model = Model(Vocabulary.from_text(text), hidden_size=2)
    settings = {"epochs": 1, "batch_size": 64, "workers": 1}
    model.fit(text, maxlen=20, **settings)
    assert "only in the validation set" not in capsys.readouterr().out
    model.fit(text[:3000], maxlen=20, verbose=False, **settings)  # a small text
    assert capsys.readouterr() == ("", "")
    model.fit(text, maxlen=20, validation_split=0.4, **settings)
    assert "only in the validation set, so never learned: 'z'" in capsys.readouterr().out
    with pytest.raises(ValueError, match="expected at least maxlen"):
        model.fit(text, maxlen=5000, **settings)
    assert "a window of maxlen=5000 needs 5001" in capsys.readouterr().out
