"""The command line in real processes, on terminals and pipes."""

import gzip
import io
import json
import os
import pty
import re
import shlex
import signal
import sys
import unicodedata
from inspect import signature

import children
import numpy as np
import pytest
from children import LIMIT

import npchar
from npchar.cli import main
from npchar.cli.options import parser

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 60
SMALL = ("--hidden-size", "12", "--maxlen", "20", "--batch-size", "8")


NPCHAR = (sys.executable, "-m", "npchar")
ENVIRONMENT = {"PYTHONWARNINGS": "error", "COLUMNS": "80", "NO_COLOR": ""}


def start(*arguments, env=None, **options):
    return children.start(*NPCHAR, *arguments, env=ENVIRONMENT | (env or {}), **options)


def run(*arguments, env=None, **options):
    done = children.run(*NPCHAR, *arguments, env=ENVIRONMENT | (env or {}), **options)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run the command in this process, in an empty folder, which is faster than a new process."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored

    def run(*arguments, given=""):
        given = given if isinstance(given, bytes) else given.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        status = main([*map(str, arguments)])
        return status, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupt_after(monkeypatch):
    """Press Ctrl-C after the given number of epochs of the next training."""
    fit = npchar.Model.fit

    def install(epochs):
        def press(history):
            if len(history.loss) == epochs:
                signal.raise_signal(signal.SIGINT)

        def interrupted(model, text, callbacks=(), **options):
            monkeypatch.setattr(npchar.Model, "fit", fit)
            return fit(model, text, callbacks=[*callbacks, press], **options)

        monkeypatch.setattr(npchar.Model, "fit", interrupted)

    return install


def test_it_writes_without_a_model_of_ones_own():
    arguments = ("--prompt", "the will to ", "--temperature", 0.5, "--seed", 1)
    status, out, err = run("generate", *arguments)
    assert (status, err) == (0, "")
    expected = npchar.Model.pretrained().generate("the will to ", 400, temperature=0.5, seed=1)
    assert out == f"the will to {expected}\n"


def test_generate_takes_prompts_as_they_come(here):
    status, out, err = here("generate", "--prompt", "The Will TO ", "--length", 20, "--seed", 1)
    assert status == 0
    assert out.startswith("the will to ")
    assert "reading the text in lower case" in err
    piped = here("generate", "--prompt", "-", "--length", 20, "--seed", 1, given="the will to \n")
    assert piped == (0, out, "")
    status, out, err = here("generate", "--prompt", "naïve ☃")
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "'ï' at position 2 is not in the model's vocabulary" in err
    assert here("generate", "--prompt", "☃the", "--unknown", "skip", "--length", 5)[0] == 0
    status, out, _ = here("generate", "--stop", "\n", "--seed", 3, "--length", 0)
    assert status == 0
    assert out.count("\n") == 1


def test_a_pipe_whose_reader_leaves():
    process = start("generate", "--length", 0, "--seed", 1)
    assert len(process.stdout.read(2000)) == 2000
    process.stdout.close()
    assert process.wait(LIMIT) == 141
    assert process.stderr.read() == ""


def test_ctrl_c_while_it_writes():
    process = start("generate", "--length", 0, "--seed", 1)
    process.stdout.read(2000)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert err.strip() == ""


def test_from_texts_to_a_model_and_back(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    status, out, err = here("train", "cats.txt", "--epochs", 3, *SMALL)
    assert status == 0
    assert re.fullmatch(r"cats\.npz: \d\.\d+ nats per character on the validation set\n", out)
    assert "epoch 3/3" in err
    assert npchar.training_settings("cats.npz") is None
    assert here("evaluate", "-", "--model", "cats.npz", given=TEXT)[1].startswith(
        f"{npchar.Model.load('cats.npz').evaluate(TEXT).loss:.4f} nats = "
    )

    model = ("--model", "cats.npz")
    status, out, _ = here("evaluate", "cats.txt", *model)
    assert status == 0
    assert f"over {len(TEXT) - 1:,}" in out
    status, out, err = here("info", *model)
    assert "Wh (4, 12, 12)" in out
    assert f"characters: {npchar.Vocabulary(TEXT).characters!r}\n" in out
    assert "unfinished" not in out + err
    assert here("page", "cats.html", *model)[:2] == (0, "cats.html\n")
    assert "<html" in (tmp_path / "cats.html").read_text(encoding="utf-8")
    status, _, err = here("page", "cats.npz", *model)  # the model file is not overwritten
    assert status == 2
    assert "cats.npz exists" in err
    status, out, _ = here("generate", "--length", 30, *model)
    assert len(out) == 31
    assert "npchar resume cats.npz" in here("train", "cats.txt")[2]


def test_defaults_are_what_the_help_says_and_the_librarys(capsys):
    assert main(["generate", "--seed", "4", "--length", "80"]) == 0
    out = capsys.readouterr().out
    model = npchar.Model.pretrained()
    assert out == model.generate("\n", 80, seed=4) + "\n"
    train = vars(parser().parse_args(["train", "x.txt"]))
    arguments = {**signature(npchar.Model).parameters, **signature(npchar.Model.fit).parameters}
    shared = train.keys() & arguments.keys()
    expected = {n: arguments[n].default for n in shared}
    chosen = dict.fromkeys(("layer", "hidden_size", "dropout", "recurrent_dropout"))
    assert {n: train[n] for n in shared} == expected | chosen


def test_minutes_choose_the_size_and_the_epochs(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    status, out, err = here("train", "cats.txt", "--minutes", 0.02, "--workers", 1, *SMALL[2:])
    assert status == 0
    epochs = re.search(r"hidden_size=64[^$]*\n(\d+) epochs.* minutes; twice the time", err)[1]
    assert f"epoch {epochs}/{epochs}" in err


def test_train_is_fit_with_the_options(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    options = (
        *("--epochs", 3, "--hidden-size", 10, "--num-layers", 2, "--dropout", 0.25),
        *("--maxlen", 25, "--batch-size", 6, "--learning-rate", 0.02),
        *("--optimizer", "adam", "--schedule", "cosine", "--warm-up", 0.1),
        *("--recurrent-dropout", 0.15),
        *("--validation-split", 0.2, "--patience", 1, "--seed", 5, "--workers", 1),
    )
    status, out, err = here("train", "cats.txt", "--save", "my.npz", *options)
    assert status == 0, err
    vocabulary = npchar.Vocabulary.from_text(TEXT)
    model = npchar.Model(
        vocabulary, hidden_size=10, num_layers=2, dropout=0.25, recurrent_dropout=0.15, seed=5
    )
    history = model.fit(
        TEXT, epochs=3, maxlen=25, batch_size=6, optimizer="adam", learning_rate=0.02,
        schedule=npchar.Schedule("cosine", 0.1), validation_split=0.2, patience=1, seed=5,
        workers=1, verbose=False,
    )  # fmt: skip
    assert f"my.npz: {min(history.val_loss):.4f} nats" in out
    made = npchar.Model.load(tmp_path / "my.npz")
    assert made.network.config == model.network.config
    assert made.parameters.flat.tobytes() == model.parameters.flat.tobytes()


def test_generate_is_generate_with_the_options(here):
    model = npchar.Model.pretrained()
    options = {"temperature": 1.4, "top_k": 30, "top_p": 0.95, "no_repeat": 5, "seed": 7}
    given = [word for name, value in options.items()
             for word in ("--" + name.replace("_", "-"), value)]  # fmt: skip
    expected = model.generate("the\nwill ", 600, stop=["q", "\n"], **options)
    assert len(expected) < 600
    stops = ("--stop", r"\n", "--stop", "q", "--length", 600)
    assert here("generate", "--prompt", r"the\nwill ", *stops, *given)[1] == (
        f"the\nwill {expected}\n"
    )
    found = model.generate(["the will"] * 3, 60, **options)
    out = here("generate", "--prompt", "the will", "--count", 3, "--length", 60, *given)[1]
    assert out == "".join(f"the will{text}\n" for text in found)


def test_an_interrupted_training_goes_on(tmp_path, here, interrupt_after):
    """The resumed training gives the same bytes as an uninterrupted training."""
    text = TEXT.replace("the", "The").replace("rat", "Gräfin")
    (tmp_path / "my cats.txt").write_bytes(text.encode("cp1252"))
    options = ("my cats.txt", "--encoding", "cp1252", "--lower", "--epochs", 4, *SMALL,
               "--dropout", 0.2, "--num-layers", 2)  # fmt: skip
    assert here("train", *options, "--save", "whole.npz")[0] == 0
    interrupt_after(2)
    status, _, err = here("train", *options, "--save", "part.npz")
    assert status == 130
    command = re.search("`npchar (.*)`", err)[1]
    assert command == "resume part.npz 'my cats.txt' --encoding cp1252"
    assert npchar.training_settings("part.npz")["epochs"] == 4
    assert npchar.Model.load("part.npz").vocabulary == npchar.Vocabulary(text.lower())
    assert "after 2 of 4 epochs\n" in here("info", "--model", "part.npz")[1]
    _, out, err = here("generate", "--model", "part.npz", "--length", 9, "--prompt", "the ")
    assert len(out) == 14
    assert "after 2 of 4 epochs" in err
    status, out, err = here(*shlex.split(command))
    assert status == 0, err
    assert re.fullmatch(r"part\.npz: \d\.\d+ nats per character on the validation set\n", out)
    assert "after epoch 2" in err
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "part.npz").read_bytes()


def test_a_training_in_the_background(tmp_path):
    """Shell scripts start background jobs with SIGINT ignored; the output names `kill` instead."""
    (tmp_path / "cats.txt").write_text(TEXT)
    options = ("cats.txt", "--epochs", 4000, *SMALL)
    process = start("train", *options, cwd=tmp_path, ignore_interrupts=True)
    seen = process.await_line(process.stderr, lambda line: line.startswith("epoch"))
    assert f"Ctrl-C is ignored in the background; `kill {process.pid}` saves" in seen
    process.send_signal(signal.SIGINT)
    process.await_line(process.stderr, lambda line: line.startswith("epoch"))
    process.terminate()
    err = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 143
    assert "resume with `npchar resume cats.npz cats.txt`" in err


def on_a_terminal(*arguments, env=None, errors=False):
    """The results, or with `errors` also the error messages, as a terminal shows them."""
    leader, follower = pty.openpty()
    stderr = {"stderr": follower} if errors else {}
    process = start(*arguments, stdout=follower, env=env, **stderr)
    os.close(follower)
    out = b""
    try:
        while piece := os.read(leader, 4096):
            out += piece
    except OSError:  # the terminal is closed
        pass
    finally:
        os.close(leader)
        process.communicate(timeout=LIMIT)
    return out.decode()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_alone(here, tmp_path, no_color, coloured):
    (tmp_path / "text").write_text("the soul of Qxqz man")
    assert "\x1b" not in here("score", "text")[1]
    assert "\x1b[30;48;5;" in here("score", "text", "--color", "always")[1]
    shown = on_a_terminal("score", tmp_path / "text", env={"NO_COLOR": no_color})
    assert ("\x1b[30;48;5;" in shown) == coloured


TRAIN = ("train", "names.txt")
MISTAKES = [
    (("generate", "--model", "nowhere.npz"), "No such file or directory: 'nowhere.npz'"),
    (("generate", "--model", "folder"), "expected a regular file"),
    (("generate", "--temperature", -1), "temperature is -1"),
    (("generate", "--length", -1), "--length is -1"),
    (("generate", "--count", 0), "--count is 0"),
    (("generate", "--document", "--count", 0), "--count is 0"),
    (("generate", "--top-p", 2), "--top-p is 2"),
    (("generate", "--no-repeat", 0), "--no-repeat is 0"),
    (("generate", "--document"), "no symbol for their end"),
    (("score", "nowhere.txt"), "no file 'nowhere.txt'"),
    (("score", "names.txt", "--model", "namer.npz"), "add --documents lines"),
    (("evaluate", "-", "nowhere.txt"), "expected - (standard input) or files"),
    (("evaluate", "names.txt", "--model", "namer.npz"), "add --documents lines"),
    (("evaluate", "names.txt", "--documents", "lines"), "no symbol for their end"),
    (("train", "empty"), "expected text files in the folder"),
    (("generate", "--count", 2, "--length", 0), "expected a --length above 0 for several texts"),
    (("train", "empty", "--documents", "lines"), "expected text files in the folder"),
    (("train", "names.txt", "--save", "folder"), "folder exists; use another file with --save"),
    (("train", "names.txt", "--min-count", 0), "--min-count is 0"),
    (("train", "--from", "nowhere.npz", "names.txt"), "No such file or directory: 'nowhere.npz'"),
    (("train", "--from", "names.txt", "names.txt"), "not a saved model"),
    (("train", "--from", "nietzsche", "--hidden-size", 9, "names.txt"), "--hidden-size"),
    # Invalid numbers are reported before the text is read.
    ((*TRAIN, "--epochs", 0), "epochs is 0"),
    ((*TRAIN, "--dropout", 1.5), "dropout is 1.5"),
    ((*TRAIN, "--warm-up", 1), "--warm-up is 1"),
    (("train", "nowhere.txt", "--minutes", 0), "--minutes is 0"),
    (("train", "nowhere.txt", "--minutes", "nan"), "--minutes is nan"),
    (("train", "nowhere.txt", "--minutes", 1, "--epochs", 2), "minutes or epochs, got both"),
    (("train", "there-is-no-such-file"), "no file"),
    (("resume", "nowhere.npz", "nowhere.txt"), "No such file or directory: 'nowhere.npz'"),
    (("resume", "namer.npz", "names.txt", "--epochs", 1), "add --documents lines"),
    (("info", "--model", "names.txt"), "not a saved model"),
    (("page", "folder"), "folder exists"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_told_in_a_line(tmp_path, here, namer, arguments, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    there = sorted(tmp_path.rglob("*"))
    status, out, err = here(*arguments)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("npchar: ")
    assert message in err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [("score - <&-", 2, "is closed"), ("generate --length 5 >&-", 0, ""), ("info 2>&-", 0, "")],
)
def test_closed_streams(line, status, message):
    done = children.run("sh", "-c", f"{shlex.join(NPCHAR)} {line}")
    assert done.returncode == status
    assert message in done.stderr


def test_a_strangers_model_commands_no_terminal(tmp_path):
    model = npchar.Model(npchar.Vocabulary("\x1b[2J"), hidden_size=2)
    model.save(tmp_path / "odd.npz")
    shown = on_a_terminal("generate", "--model", tmp_path / "odd.npz", "--prompt", "2")
    assert len(shown) > 300
    assert "\x1b" not in shown


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(capsys, option):
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert ("resume" if option == "--help" else npchar.__version__) in capsys.readouterr().out


NAMES = ["anna", "ben", "carl", "nina", "lena", "anton", "berta", "Clara", "nils", "lea"] * 12


def test_documents_from_the_lines_of_a_file(tmp_path, here):
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n\n")
    status, out, err = here("train", "names.txt", "--documents", "lines", "--epochs", 3,
                            "--batch-size", 4, *SMALL[:4], "--seed", 3)  # fmt: skip
    assert status == 0, err
    assert "characters in 120 documents" in err
    assert "held out: 12 of 120 documents, drawn by seed 3" in err
    model = npchar.Model.load(tmp_path / "names.npz")
    same = npchar.Model(model.vocabulary, hidden_size=12, dropout=0.3, seed=3)
    same.fit(NAMES, epochs=3, batch_size=4, maxlen=20, seed=3, verbose=False)
    assert same.parameters.flat.tobytes() == model.parameters.flat.tobytes()

    options = ("--model", "names.npz", "--seed", 1, "--temperature", 0.8)
    _, out, _ = here("generate", "--count", 20, *options)  # the model can write nothing else
    assert out.splitlines() == model.generate_documents(20, seed=1, temperature=0.8)
    _, out, _ = here("generate", "--document", "--prompt", "an", *options)
    assert out == model.generate_documents(seed=1, temperature=0.8, beginning="an")[0] + "\n"
    new = model.generate_documents(20, seed=1, temperature=0.8, new_to=NAMES)
    status, out, err = here("generate", "--count", 20, *options, "--new", "names.txt")
    assert (out.splitlines(), err) == (
        new,
        f"left out: {new.copies} copies, {new.repeats} repeats\n",
    )
    read = ("--model", "names.npz", "names.txt")  # the model file records that lines are documents
    assert here("evaluate", *read)[1].startswith(f"{model.evaluate(NAMES).loss:.4f} nats")
    assert here("score", *read)[1].startswith(
        f"{model.score(NAMES)[0].bits_per_character:.3f} bits"
    )


def test_documents_that_are_files(tmp_path, here):
    (tmp_path / "poems").mkdir()
    for k in range(4):
        (tmp_path / "poems" / f"{k}.txt").write_text("roses are red\nviolets are blue\n" * (k + 1))
    status, _, err = here("train", "poems", "--documents", "files", "--epochs", 2, *SMALL)
    assert status == 0, err
    assert "in 4 documents" in err
    assert here("resume", "poems.npz", "poems", "--epochs", 1)[0] == 0
    status, _, err = here("train", "poems", "--save", "one.npz", "--epochs", 2, *SMALL)
    assert status == 0, err
    assert "characters, " in err
    assert "\x03" not in npchar.Model.load(tmp_path / "one.npz").vocabulary


@pytest.mark.parametrize(
    ("name", "how"),
    [("a.jsonl.gz", ("--field", "text")), ("a.txt", ("--documents", r"\n<|end|>\n"))],
)
def test_a_model_reads_documents_as_it_was_trained(tmp_path, here, interrupt_after, name, how):
    separate = "\n<|end|>\n".join
    (tmp_path / "a.txt").write_text(separate(NAMES))
    lines = "\n".join(json.dumps({"text": text}) for text in NAMES)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    interrupt_after(1)
    options = ("--save", "a.npz", "--epochs", 2, *SMALL)
    assert here("train", name, *how, *options)[0] == 130
    assert here("resume", "a.npz", name)[0] == 0
    model = npchar.Model.load("a.npz")
    result = model.evaluate(NAMES)
    table = json.loads(here("evaluate", "--model", "a.npz", name, "--json")[1])
    assert table == result._asdict()
    given = (tmp_path / name).read_bytes()
    scores = json.loads(here("score", "--model", "a.npz", "-", "--json", given=given)[1])
    assert [score["text"][1:-1] for score in scores] == NAMES
    expected = model.score(NAMES[0])
    expected = model.score(NAMES[:1])[0]
    assert scores[0]["log_probabilities"] == pytest.approx(expected.log_probabilities, abs=1e-4)


def test_samples_and_the_best_model(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    options = ("--epochs", 6, "--learning-rate", 0.3, "--sample", "--temperature", 0, *SMALL)
    status, _, err = here("train", "cats.txt", *options, "--best", "best.npz")
    assert status == 0, err
    best, last = (npchar.Model.load(name) for name in ("best.npz", "cats.npz"))
    np.testing.assert_array_equal(best.parameters.flat, last.parameters.flat)  # restored at the end
    assert best.generate(TEXT[0], 200, temperature=0)[:20] in err
    assert here("train", "cats.txt", "--save", "x.npz", "--best", "x.npz")[0] == 2


def test_the_best_model_is_not_replaced(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    assert here("train", "cats.txt", "--epochs", 1, *SMALL)[0] == 0
    before = (tmp_path / "cats.txt").read_bytes()
    again = ("resume", "cats.npz", "cats.txt", "--epochs", 1)
    for command in (("train", "cats.txt", "--save", "x.npz"), again):
        status, _, err = here(*command, "--best", "cats.txt")
        assert (status, "cats.txt exists" in err) == (2, True)
        assert here(*command, "--best", "nowhere/best.npz")[0] == 2
    assert (tmp_path / "cats.txt").read_bytes() == before
    assert not (tmp_path / "x.npz").exists()


def test_fine_tuning_reads_texts_as_the_base_did(tmp_path, here):
    (tmp_path / "names.txt").write_text("\n".join(NAMES).title())
    options = ("--epochs", 1, *SMALL)
    assert here("train", "names.txt", "--documents", "lines", "--lower", *options)[0] == 0
    assert (
        here("train", "names.txt", "--from", "names.npz", "--save", "x.npz", "--epochs", 1)[0] == 0
    )
    model = npchar.Model.load("x.npz")
    assert model.reading == {"documents": "lines", "lower_case": True}
    assert "A" not in model.vocabulary
    (tmp_path / "odd.txt").write_text("\u6f22\nanna\n")
    status, out, err = here("evaluate", "odd.txt", "--model", "x.npz", "--unknown", "skip")
    assert (status, "skipped 1 of 5" in out) == (0, True), err


def test_info_as_json(here):
    table = json.loads(here("info", "--json")[1])
    model = npchar.Model.pretrained()
    assert table["parameters"] == model.parameters.flat.size
    assert table["model"]["characters"] == model.vocabulary.characters


def test_what_is_skipped_is_told_where_the_result_is(tmp_path, here):
    (tmp_path / "text").write_text("the will \u5b78\u800c to")
    for command in ("evaluate", "score"):
        _, out, _ = here(command, "text", "--unknown", "skip")
        assert "skipped 2 of 14 characters (14%), which are unknown" in out
        _, out, _ = here(command, "text", "--unknown", " ")
        assert "replaced 2 of 14 characters (14%), which are unknown" in out


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_encodings_and_errors_are_advised_as_options(tmp_path, here, command):
    (tmp_path / "text").write_bytes("Götzen".encode("cp1252"))
    (tmp_path / "odd").write_bytes("Götzen".encode() * 9 + b"\xf6")
    for name, option in (("text", "--encoding cp1252"), ("odd", "--errors replace")):
        status, _, err = here(command, name)
        assert (status, option in err, "encoding=" in err or "errors=" in err) == (2, True, False)


def test_errors_says_what_becomes_of_odd_bytes(tmp_path, here):
    text = TEXT.replace("rat", "Ratte: Räte")
    (tmp_path / "odd").write_bytes(text.encode().replace(b" and", b"\0 and\xff"))
    npchar.Model(npchar.Vocabulary(text + "\ufffd"), hidden_size=4).save("m.npz")
    expected = here("evaluate", "--model", "m.npz", "-", given=text)[1]
    odd, ignore = ("evaluate", "--model", "m.npz", "odd"), ("--errors", "ignore")
    assert here(*odd)[0] == 2
    assert here(*odd, *ignore)[1] == expected
    assert "U+FFFD" in here(*odd, "--errors", "replace")[2]
    odd_bytes = (tmp_path / "odd").read_bytes()
    assert here(*odd[:-1], "-", *ignore, given=odd_bytes)[:2] == (0, expected)
    trained = ("train", "odd", *ignore, "--save", "new.npz", "--epochs", 1, *SMALL)
    assert here(*trained)[0] == 0
    assert here("resume", "new.npz", "odd", *ignore, "--epochs", 1)[0] == 0
    assert "odd --errors ignore`" in here(*trained)[2]


def test_a_finished_model_goes_on_for_more_epochs(tmp_path, here):
    (tmp_path / "cats.txt").write_text(TEXT)
    assert here("train", "cats.txt", "--epochs", 2, *SMALL)[0] == 0
    model = npchar.Model.load(tmp_path / "cats.npz")
    status, out, err = here("resume", "cats.npz", "cats.txt")
    assert status == 2
    assert "use --epochs N" in err
    assert "npchar train --from" in err
    status, out, err = here("resume", "cats.npz", "cats.txt", "--epochs", 3)
    assert status == 0, err
    model.fit(TEXT, epochs=3, verbose=False)
    made = npchar.Model.load(tmp_path / "cats.npz")
    assert made.parameters.flat.tobytes() == model.parameters.flat.tobytes()


@pytest.mark.parametrize("finished", [True, False])
def test_a_model_is_not_replaced_by_one_of_another_text(tmp_path, here, interrupt_after, finished):
    for name, text in {"cats": TEXT, "turned": TEXT[::-1], "other": TEXT + "zebra " * 20}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    if not finished:
        interrupt_after(1)
    here("train", "cats.txt", "--epochs", 2, *SMALL)
    before = (tmp_path / "cats.npz").read_bytes()
    for name in ("turned.txt", "other.txt"):
        status, out, err = here("resume", "cats.npz", name, *(("--epochs", 1) if finished else ()))
        assert (status, out) == (2, "")
        message = {"turned.txt": "another text", "other.txt": "character 'z' at position"}[name]
        assert message in err
        assert "npchar train --from" in err or not finished
        assert (tmp_path / "cats.npz").read_bytes() == before
    if finished:
        assert here("train", "--from", "cats.npz", "turned.txt", "--epochs", 1)[0] == 0
        assert (tmp_path / "cats.npz").read_bytes() == before
        assert here("resume", "turned.npz", "turned.txt", "--epochs", 1)[0] == 0


def test_a_finished_model_of_several_texts_goes_on_with_them(tmp_path, here):
    """Each text is split into training and validation set as before."""
    (tmp_path / "cats.txt").write_text(TEXT)
    (tmp_path / "turned.txt").write_text(TEXT[::-1])
    texts = ("cats.txt", "turned.txt")
    status, _, err = here("train", *texts, "--validation-split", 0.3, "--epochs", 1, *SMALL)
    assert status == 0, err
    status, _, err = here("resume", "cats.npz", *texts, "--epochs", 1)
    assert status == 0, err
    assert "the last 30% of each of 2 files" in err


LOG = "[12:00] <\x0304ada\x03> the train is late\n[12:01] <bob> not again\n" * 30


def test_end_of_text_characters_of_a_chat_log(tmp_path, here):
    """U+0003 may occur in a text, as in mIRC's colours, and such texts can be documents."""
    (tmp_path / "irc.log").write_text(LOG)
    assert here("train", "irc.log", "--epochs", 1, *SMALL)[0] == 0
    model = npchar.Model.load("irc.npz")
    options = ("--model", "irc.npz", "--length", 300, "--seed", 1)
    _, out, _ = here("generate", "--prompt", "[12:00] <", *options)
    assert out == f"[12:00] <{model.generate('[12:00] <', 300, seed=1)}\n"
    assert "\x03" in out
    lines = ("--documents", "lines")
    status, _, err = here("train", "irc.log", "--save", "d.npz", "--epochs", 1, *lines, *SMALL)
    assert status == 0, err
    assert "removed 60" in err
    clean = LOG.replace("\x03", "").splitlines()
    loss = npchar.Model.load("d.npz").evaluate(clean).loss
    out = here("evaluate", "--model", "d.npz", "-", *lines, given=LOG)[1]
    assert out[:6] == f"{loss:.4f}"


@pytest.fixture
def russian(tmp_path):
    """A model of a text that can be encoded neither in cp1252 nor in ASCII."""
    model = npchar.Model(npchar.Vocabulary("дом \n"), hidden_size=4)
    model.save(tmp_path / "ru.npz")
    (tmp_path / "текст").write_text("дом дом\n", encoding="utf-8")
    return model


def test_output_is_utf8_where_it_is_no_terminal(tmp_path, russian):
    options = {"cwd": tmp_path, "env": {"PYTHONIOENCODING": "ascii"}, "encoding": "utf-8"}
    prompt = ("--prompt", "дом", "--length", 50, "--seed", 1)
    status, out, err = run("generate", "--model", "ru.npz", *prompt, **options)
    assert (status, err) == (0, "")
    assert out == "дом" + russian.generate("дом", 50, seed=1) + "\n"
    status, out, err = run("page", "страница.html", "--model", "ru.npz", **options)
    assert (status, out, err) == (0, "страница.html\n", "")
    status, _, err = run("train", "нет", **options)
    assert (status, "нет" in err) == (2, True)


def test_a_terminal_that_lacks_characters_shows_question_marks(tmp_path, russian):
    arguments = ("generate", "--model", tmp_path / "ru.npz", "--length", 50, "--seed", 1)
    text = russian.generate("\n", 50, seed=1)
    for encoding, expected in (("ascii", re.sub("[дом]", "?", text)), ("utf-8", text)):
        shown = on_a_terminal(*arguments, env={"PYTHONIOENCODING": encoding}, errors=True)
        assert shown.replace("\r", "") == expected + "\n"


MIXED = TEXT[:900] + "A" + TEXT[900:]  # one capital, which --min-count replaces


@pytest.mark.parametrize("lower", [(), ("--lower",)])
def test_a_training_with_rare_characters_is_resumed_with_their_case(
    tmp_path, here, interrupt_after, lower
):
    (tmp_path / "text").write_text(MIXED)
    interrupt_after(1)
    assert here("train", "text", "--epochs", 2, "--min-count", 5, *SMALL, *lower)[0] == 130
    assert here("resume", "text.npz", "text")[0] == 0
    model = npchar.Model.load("text.npz")
    assert "A" not in model.vocabulary
    loss = model.evaluate(MIXED.lower() if lower else MIXED).loss
    assert here("evaluate", "--model", "text.npz", "text")[1].startswith(f"{loss:.4f} nats")


def test_a_model_keeps_whether_its_texts_are_lower_cased(tmp_path, here):
    (tmp_path / "text").write_text(MIXED * 3)
    for name, more in (("plain", ()), ("lower", ("--lower",))):
        options = ("--min-count", 5, "--epochs", 1, "--save", f"{name}.npz", *more, *SMALL)
        assert here("train", "text", *options)[0] == 0
        model = npchar.Model.load(f"{name}.npz")
        assert model.reading.get("lower_case", False) == bool(more)
        model.save("copy.npz")
        loss = model.score(MIXED.lower() if more else MIXED).bits_per_character
        (tmp_path / "one").write_text(MIXED)
        for file in (f"{name}.npz", "copy.npz"):
            assert here("score", "--model", file, "one")[1].startswith(f"{loss:.3f} bits")


@pytest.mark.parametrize("kind", ["folder", "pipe", "text"])
def test_what_has_the_name_of_a_shipped_model_does_not_hide_it(tmp_path, here, kind):
    place = tmp_path / "nietzsche"
    make = {"folder": place.mkdir, "pipe": lambda: os.mkfifo(place), "text": place.touch}
    make[kind]()
    out = npchar.Model.pretrained().generate("\n", 20, seed=1)
    assert here("generate", "--length", 20, "--seed", 1) == (0, out + "\n", "")
    assert here("info")[0] == here("page", "both.html")[0] == 0
    assert '"structure"' in (tmp_path / "both.html").read_text(encoding="utf-8")
    (tmp_path / "text").write_text("the will to power")
    status, _, err = here("resume", "nietzsche", "text")
    assert (status, "npchar train --from nietzsche" in err) == (2, True)


def test_a_model_with_the_name_of_a_shipped_one_is_used_and_named(tmp_path, here):
    npchar.Model(npchar.Vocabulary("xyz"), hidden_size=2).save("nietzsche")
    status, out, err = here("generate", "--length", 20)
    assert status == 0
    assert set(out) <= set("xyz\n")
    assert err == "loading the file nietzsche instead of the shipped model with that name\n"
    assert "characters: 'xyz'" in here("info")[1]


@pytest.fixture
def namer(tmp_path):
    """A model of names in namer.npz, and the names in names.txt."""
    (tmp_path / "names.txt").write_text("anna\nben\ncarla\n" * 20)
    model = npchar.Model(npchar.Vocabulary.from_documents(["anna", "ben", "carla"]), hidden_size=4)
    model.save(tmp_path / "namer.npz")
    return model


@pytest.mark.parametrize(
    ("name", "made"), [(".", "here.npz"), ("../here/", "here.npz"), (".chat", "chat.npz")]
)
def test_the_models_file_is_named_and_not_hidden(tmp_path, here, monkeypatch, name, made):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for file in ("text", ".chat"):
        (tmp_path / "here" / file).write_text(TEXT)
    status, out, _ = here("train", name, "--epochs", 1, *SMALL)
    assert status == 0
    assert out.startswith(f"{made}: ")
    assert sorted(os.listdir()) == sorted([".chat", made, "text"])


def test_prompts_are_read_as_the_vocabulary_has_them(here):
    model = npchar.Model(npchar.Vocabulary("café\n"), hidden_size=4)
    model.save("m.npz")
    options = ("--model", "m.npz", "--length", 60, "--seed", 1)
    expected = "café\n" + model.generate("café\n", 60, seed=1) + "\n"
    for prompt in ("café\n", "café\r\n", unicodedata.normalize("NFD", "café\n"), "CAFÉ\r\n",
                   unicodedata.normalize("NFD", "CAFÉ\r\n")):  # fmt: skip
        assert here("generate", "--prompt", prompt, *options)[1] == expected
    nothing = model.generate("\n", 60, seed=1) + "\n"
    for prompt in ((), ("--prompt", "")):
        assert here("generate", *prompt, *options)[1] == nothing
    stopped = here("generate", "--stop", unicodedata.normalize("NFD", "é"), *options)[1]
    assert stopped == nothing.partition("é")[0].rstrip("\n") + "\n" != nothing
    # If the vocabulary has the accents and carriage returns, the model gets them.
    model = npchar.Model(npchar.Vocabulary("cafe\u0301\r\n"), hidden_size=4)
    model.save("m.npz")
    out = here("generate", "--prompt", "cafe\u0301\r\n", *options)[1]
    assert out == "cafe\u0301\r\n" + model.generate("cafe\u0301\r\n", 60, seed=1) + "\n"


def test_a_file_in_nfd_and_a_prompt_in_another_encoding(tmp_path, here):
    model = npchar.Model(npchar.Vocabulary("café 한글"), hidden_size=4)
    model.save("m.npz")
    text = "café 한글 café"
    (tmp_path / "nfd").write_text(unicodedata.normalize("NFD", text), encoding="utf-8")
    status, out, _ = here("evaluate", "--model", "m.npz", "nfd")
    assert (status, out[:6]) == (0, f"{model.evaluate(text).loss:.4f}")
    options = ("generate", "--model", "m.npz", "--prompt", "-", "--length", 9)
    status, _, err = here(*options, given=b"caf\351")
    option = re.search("--encoding cp1252", err)[0].split()
    assert status == 2
    status, out, _ = here(*options, *option, given=b"caf\351")
    assert (status, out[:4], len(out)) == (0, "café", 14)


def test_without_a_seed_it_writes_something_else_each_time(capsys):
    written = set()
    for _ in range(3):
        assert main(["generate", "--length", "60", "--temperature", "1"]) == 0
        written.add(capsys.readouterr().out)
    assert len(written) == 3
