"""The Nietzsche example in real processes."""

import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT, python, run_python, start
from conftest import ROOT

import npchar

EXAMPLE = Path(__file__).parents[1] / "examples" / "nietzsche.py"
SMALL = ["--epochs", "2", "--hidden-size", "12", "--maxlen", "20"]


def run(*arguments, **environment):
    return run_python(EXAMPLE, *arguments, env=environment)


@pytest.fixture
def short_corpus(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("The Cat sat on the mat, and the rat sat on the cat.\n" * 60)
    return path


@pytest.mark.slow
def test_the_main_job(short_corpus, tmp_path):
    saved = tmp_path / "best.npz"
    done = run("--corpus", short_corpus, "--save", saved, *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "corpus length: 3,120" in done.stdout
    assert "unique characters: 15" in done.stdout
    assert len(re.findall(r"^epoch [12]/2  loss .* left$", done.stdout, re.MULTILINE)) == 2
    for temperature in (0.2, 0.5, 1.0, 1.2):
        assert done.stdout.count(f"------ temperature: {temperature}\n") == 2
    prompt = re.search(r'^prompt: "([^"]{60})"', done.stdout, re.MULTILINE)
    assert prompt is not None
    assert f"temperature: 0.2\n{prompt[1]}" in done.stdout
    model = npchar.Model.load(saved)
    assert model.network.config.hidden_size == 12


@pytest.mark.slow
def test_the_book(short_corpus):
    done = run("--book", "--corpus", short_corpus, "--epochs", 1, "--hidden-size", 8)
    assert done.returncode == 0, done.stderr
    line = r"^epoch 1/1  loss [\d.]+ = [\d.]+ bits \(unigram [\d.]+\)  [\d,]+ characters/s"
    assert re.search(line, done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_without_a_network_it_goes_on(tmp_path):
    done = run(
        "--epochs", 1, "--hidden-size", 2, "--batch-size", 512, "--maxlen", 20,
        NPCHAR_CACHE=str(tmp_path), HTTPS_PROXY="http://localhost:1", https_proxy="http://localhost:1",
        NO_PROXY="", no_proxy="",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    line = r"cannot download https://.*/nietzsche\.txt.*Python's help texts.*--corpus PATH\)\n\n"
    assert re.match(line, done.stdout)
    assert "epoch 1/1" in done.stdout


def test_the_text_without_a_network_is_prose():
    text = runpy.run_path(str(EXAMPLE))["prose_of_help"]()
    assert len(text) > 50_000
    assert not re.search(r"[|=_*<>]|---|^\W", text, re.MULTILINE)


# The text is written after the model of the epoch is saved.
@pytest.mark.parametrize("after", ["unique characters", "temperature: 0.2"])
def test_ctrl_c_ends_it_cleanly(short_corpus, tmp_path, after):
    saved = tmp_path / "best.npz"
    process = python(EXAMPLE, "--corpus", short_corpus, "--save", saved,
                     "--epochs", 5000, "--hidden-size", 12)  # fmt: skip
    process.await_line(process.stdout, lambda line: after in line)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "nterrupted" in out + errors
    if after == "temperature: 0.2":
        assert f"The best model is in {saved}" in out
        assert len(npchar.Model.load(saved).generate("the ", 5)) == 5


def test_sigterm_under_nohup_leaves_the_hint_in_the_log(short_corpus, tmp_path):
    options = ("--corpus", short_corpus, "--epochs", 5000, "--hidden-size", 12,
               "--checkpoint", tmp_path / "run.npz")  # fmt: skip
    process = start("nohup", sys.executable, EXAMPLE, *options, ignore_interrupts=True)
    process.await_line(process.stdout, lambda line: "temperature: 0.2" in line)
    process.terminate()
    log, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (143, "")
    assert f"The run is saved in {tmp_path / 'run.npz'}; add --resume" in log


def test_ctrl_c_while_numpy_loads_ends_without_a_traceback(tmp_path):
    """Ctrl-C in the first third of a second comes before npchar can handle it."""
    (tmp_path / "numpy.py").write_text('print("loading", flush=True)\ninput()')
    process = python(EXAMPLE, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, stdin=subprocess.PIPE)
    process.await_line(process.stdout, lambda line: "loading" in line)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LIMIT) == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.slow
def test_an_interrupted_run_goes_on(short_corpus, tmp_path):
    arguments = ["--corpus", short_corpus, "--epochs", "6", "--hidden-size", "12"]
    whole = run(*arguments, "--checkpoint", tmp_path / "whole.npz")
    assert whole.returncode == 0, whole.stderr
    command = [*arguments, "--checkpoint", tmp_path / "run.npz", "--resume"]
    process = python(EXAMPLE, *command)
    process.await_line(process.stdout, lambda line: line.startswith("epoch 3/6"))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "add --resume" in out
    rest = run(*command)
    assert rest.returncode == 0, rest.stderr
    assert "resuming after epoch" in rest.stdout

    def results(text):  # losses and text of the last epochs
        at = text.index("epoch 5/6")
        return re.sub(r"[\d,]+ characters/s.*", "", text[at:])

    assert results(rest.stdout) == results(whole.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "no-such-file.txt"], "no file 'no-such-file.txt'"),
        (["--corpus", npchar.__path__[0] + "/pretrained"], "got none; skipped"),
        (["--checkpoint", "no-such-folder/run.npz"], "no-such-folder"),
        (["--checkpoint", sys.executable], "exists; resume its run"),
        (["--checkpoint", sys.executable, "--resume"], "damaged or not a saved model"),
    ],
)
def test_errors_are_one_sentence(short_corpus, arguments, message, monkeypatch, capsys):
    if "--corpus" not in arguments:
        arguments = [*arguments, "--corpus", str(short_corpus)]
    monkeypatch.setattr(sys, "argv", ["nietzsche.py", *arguments])
    assert runpy.run_path(str(EXAMPLE))["main"]() == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
