"""Documents: batches give the same results as single documents."""

import itertools

import numpy as np
import pytest

from npchar import Model, Vocabulary
from npchar.text.batches import DocumentBatches
from npchar.text.documents import END, PADDING, concatenate, stack

NAMES = ["anna", "ben", "a", "carolina", "benedikt", "nina", "ab", "caba", "dennis", "bea"]
LAYERS = ("lstm", "gru", "rnn", "conv")


def small(layer="lstm", **changes):
    """A model for the names in float64, with random weights."""
    vocabulary = Vocabulary.from_documents(NAMES)
    model = Model(vocabulary, layer=layer, hidden_size=5, num_layers=2, dtype="float64", **changes)
    model.parameters.flat[:] = np.random.default_rng(1).normal(0, 0.5, model.parameters.flat.shape)
    return model


def batch_of(model, names):
    """The ids of names side by side, (T + 1, B)."""
    ids, ends = concatenate(names, model.vocabulary)
    return stack(ids, ends[:-1], np.diff(ends))


def loss_and_gradient(network, batch):
    found = network.gradients(np.maximum(batch[:-1], 0), batch[1:])
    return float(found.loss), found.parameters.flat.copy()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_document_is_the_same_alone_and_among_others_in_any_order(layer):
    model = small(layer)
    losses, gradients = zip(
        *(loss_and_gradient(model.network, batch_of(model, [name])) for name in NAMES)
    )
    weights = np.array([len(name) + 1 for name in NAMES])
    for names, order in ((NAMES, slice(None)), (NAMES[::-1], slice(None, None, -1))):
        loss, gradient = loss_and_gradient(model.network, batch_of(model, names))
        n = weights[order]
        assert loss == pytest.approx(n @ np.array(losses)[order] / n.sum(), rel=1e-13)
        expected = n @ np.array(gradients)[order] / n.sum()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layer", LAYERS)
def test_what_stands_after_a_shorter_document_changes_nothing(layer):
    model = small(layer)
    batch = batch_of(model, NAMES)
    x = np.maximum(batch[:-1], 0)
    expected = model.network.gradients(x, batch[1:])
    changed = np.where(batch[:-1] == PADDING, 3, x)
    assert (changed != x).any()
    found = model.network.gradients(changed, batch[1:])
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.parameters.flat, expected.parameters.flat)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_gradient_of_a_batch_of_unequal_lengths_by_complex_steps(layer):
    model = small(layer)
    batch = batch_of(model, NAMES)
    _, analytic = loss_and_gradient(model.network, batch)
    plain = model.network.plain().astype("complex128")
    for k in np.random.default_rng(2).choice(len(analytic), 25, replace=False):
        plain.parameters.flat[k] += 1e-30j
        loss = plain.loss(np.maximum(batch[:-1], 0), batch[1:])
        plain.parameters.flat[k] -= 1e-30j
        assert loss.imag / 1e-30 == pytest.approx(analytic[k], rel=1e-11, abs=1e-15)


def symbol_by_symbol(model, name):
    """log p of a document, computed one step at a time from the zero state."""
    ids = model.vocabulary.encode(END + name + END)
    step = model.network.stepper(model.network.zero_states(1))
    total = 0.0
    for a, b in itertools.pairwise(ids):
        z = step(np.array([a]))[0]
        total += z[b] - np.log(np.exp(z).sum())
    return total


@pytest.mark.parametrize("layer", LAYERS)
def test_evaluate_and_score_read_each_alone(layer):
    model = small(layer)
    names = [*NAMES, "bea" * 70]
    expected = [symbol_by_symbol(model, name) for name in names]
    scores = model.score(names)
    assert [s.text for s in scores] == [END + name + END for name in names]
    for score, log_p in zip(scores, expected):
        assert len(score.log_probabilities) == len(score.text) - 1
        assert score.log_probabilities.sum() == pytest.approx(log_p, rel=1e-12)
    found = model.evaluate(names, train_text=NAMES)
    n = sum(len(name) + 1 for name in names)
    assert found.characters == n
    assert found.loss == pytest.approx(-sum(expected) / n, rel=1e-12)
    assert "5-gram" in found.baselines


def test_pieces_are_all_of_the_documents_once():
    ids, ends = concatenate([*NAMES, "abcd" * 9], Vocabulary.from_documents(NAMES))
    pieces = DocumentBatches(ids, ends, maxlen=5, batch_size=3)
    order = np.random.default_rng(0).permutation(len(pieces))
    seen = []
    batches = list(pieces.batches(order))
    assert len(batches) == pieces.batch_count
    for batch in batches:
        assert (batch[1:] >= 0).sum() <= 5 * 3
        for column in batch.T:
            text = column[column >= 0]
            assert (column[len(text) :] == PADDING).all()
            # The end symbol 0 is only at the beginning of the inputs and at the end of the targets.
            assert not (text[1:-1] == 0).any()
            seen.append(tuple(text.tolist()))
    ended = [piece for piece in seen if piece[-1] == 0]
    assert len(ended) == len(NAMES) + 1
    assert sum(len(piece) - 1 for piece in seen) == len(ids) - 1
    assert [b.tolist() for b in pieces.batches(order, first=2)] == [b.tolist() for b in batches[2:]]
    again = list(pieces.batches(np.random.default_rng(1).permutation(len(pieces))))
    assert [b.shape for b in again] != [b.shape for b in batches]  # lengths in another order


SETTINGS = {"epochs": 3, "maxlen": 6, "batch_size": 2, "learning_rate": 0.02, "verbose": False}


@pytest.mark.parametrize("layer", ["lstm", "conv"])  # test_kinds.py has workers of all kinds
def test_workers_share_out_documents(layer):
    one, two = small(layer, dropout=0.2), small(layer, dropout=0.2)
    expected = one.fit(NAMES * 3, workers=1, **SETTINGS)
    found = two.fit(NAMES * 3, workers=2, **SETTINGS)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-10)
    np.testing.assert_allclose(found.val_loss, expected.val_loss, rtol=1e-10)
    np.testing.assert_allclose(two.parameters.flat, one.parameters.flat, rtol=0, atol=1e-9)
    assert found.loss[-1] < found.loss[0]


def test_the_losses_are_means_over_all_symbols():
    """A negligible learning rate keeps the weights, so `evaluate` gives the same losses."""
    model, options = small(), SETTINGS | {"learning_rate": 1e-300, "epochs": 1, "maxlen": 100}
    history = model.fit(NAMES, validation_data=["ben", "carolina"], workers=1, **options)
    assert history.loss == [pytest.approx(model.evaluate(NAMES).loss, rel=1e-12)]
    assert history.val_loss == [pytest.approx(model.evaluate(["ben", "carolina"]).loss, rel=1e-12)]


@pytest.fixture(scope="module")
def learned():
    """A model that has memorized three words and their ends."""
    model = Model(Vocabulary.from_documents(["to", "be", "beat"]), hidden_size=16, seed=2)
    model.fit(["to", "be", "beat", "to"] * 40, epochs=20, batch_size=4, maxlen=5, workers=1,
              learning_rate=0.02, verbose=False)  # fmt: skip
    return model


def test_whole_documents_are_generated(learned):
    found = learned.generate_documents(200, seed=1)
    assert {"to", "be", "beat"} == {word for word in found if found.count(word) > 2}
    counts = [found.count(word) / 200 for word in ("to", "be", "beat")]
    assert counts == pytest.approx([0.5, 0.25, 0.25], abs=0.12)
    assert not any(END in word for word in found)
    assert found[3:] == learned.generate_documents(197, seed=4)
    assert set(learned.generate_documents(20, beginning="bea", temperature=0)) == {"beat"}
    assert learned.generate_documents(2, 1, beginning="be", top_k=1)[0][:2] == "be"
    assert len(learned.generate_documents(1, 1, temperature=5.0, seed=3)[0]) <= 1


def test_new_documents(learned):
    """Compared with a loop over the seeds that generates one document at a time."""
    old, expected, copies, repeats = {*NAMES}, [], 0, 0
    for seed in itertools.count(1):
        (document,) = learned.generate_documents(seed=seed, temperature=1.5)
        if document in old or not document:
            copies += 1
        elif document in expected:
            repeats += 1
        else:
            expected.append(document)
        if len(expected) == 70:
            break
    found = learned.generate_documents(70, seed=1, temperature=1.5, new_to=NAMES)
    assert found == expected
    assert (found.copies, found.repeats) == (copies, repeats)
    assert min(copies, repeats) > 0


def test_nothing_new_comes(learned):
    with pytest.warns(UserWarning, match="generated 1 of 3 new documents: the last 1,[0-9]+ were"):
        found = learned.generate_documents(3, temperature=0, new_to=[])
    assert len(found) == 1
    assert found.repeats > 1000


def test_generated_documents_end_before_a_stop(learned):
    whole = learned.generate_documents(50, seed=1)
    assert any("e" in word for word in whole)
    for stop in ("e", ["e", "zz"]):
        found = learned.generate_documents(50, seed=1, stop=stop)
        assert found == [word.partition("e")[0] for word in whole]
    with pytest.raises(ValueError, match="stop is"):
        learned.generate_documents(stop=[""])


class Series:
    """A column as in pandas: indexed by labels, which may begin at any number."""

    ndim = 1

    def __init__(self, values):
        self.values = {k: value for k, value in enumerate(values, start=5)}

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values.values())

    def __contains__(self, label):
        return label in self.values

    def __getitem__(self, label):
        return self.values[label]


TOKENS = ["to", "be", "or", "not"] * 20


def every_use(texts, vocabulary_of=Vocabulary.from_documents):
    """Results of a vocabulary and a model for documents or tokens, as comparable values."""
    vocabulary = vocabulary_of(texts)
    model = Model(vocabulary, hidden_size=4)
    losses = model.fit(texts, workers=1, **SETTINGS).loss
    found, scores = model.evaluate(texts, train_text=texts), model.score(texts)
    bits = [score.loss for score in (scores if isinstance(scores, list) else [scores])]
    return vocabulary, losses, found, bits, model.extend(texts).vocabulary


@pytest.mark.parametrize("kind", [Series, np.array, tuple])
def test_documents_and_tokens_may_be_any_collection(kind):
    assert every_use(kind(NAMES)) == every_use(NAMES)
    assert every_use(kind(TOKENS), Vocabulary.from_text) == every_use(TOKENS, Vocabulary.from_text)


@pytest.mark.parametrize(
    "kind", [iter, set, lambda names: dict.fromkeys(names, 1), lambda names: np.array([names])]
)
def test_what_is_no_list_of_documents_is_refused_everywhere(kind):
    model = small()
    for use in (Vocabulary.from_documents, model.fit, model.evaluate, model.score, model.extend):
        with pytest.raises(TypeError, match=r"expected a .*got \w+; pass list\(\.\.\.\)"):
            use(kind(NAMES))
    for use in (Vocabulary.from_text, model.fit, model.evaluate):
        with pytest.raises(TypeError, match=r"pass list\(\.\.\.\)"):
            use(iter(TOKENS))


def test_the_end_of_documents_is_a_character_of_a_text(tmp_path):
    """U+0003 may occur in a text, such as a chat log; the saved model is still a text model."""
    text = "\x0304<ada\x03> hello\n" * 30
    model = Model(Vocabulary.from_text(text), hidden_size=4)
    model.fit(text, workers=1, **SETTINGS)
    assert not model.vocabulary.documents
    with pytest.raises(ValueError, match="from_documents"):
        model.fit([text.replace(END, "")])
    with pytest.raises(ValueError, match="from_documents"):
        model.generate_documents()
    model.save(tmp_path / "text.npz")
    assert Model.load(tmp_path / "text.npz").vocabulary == model.vocabulary
    small().save(tmp_path / "documents.npz")
    assert Model.load(tmp_path / "documents.npz").vocabulary.documents
    assert model.extend(["ada"]).vocabulary.documents
