"""The snippets and commands of both READMEs run as printed."""

import re
import runpy
import shlex
import sys
import wave
from pathlib import Path

import pytest

import npchar
from npchar.cli.options import parser

README = Path(__file__).parents[1] / "README.md"
CHINESE = README.with_name("README.zh.md")
SHORT = (
    'the will to power, and the soul of man: "what is it?" asked the old sage (hi--jkqxz). ' * 25
)


@pytest.fixture
def short_corpus(monkeypatch, tmp_path):
    """A corpus for which twenty epochs take a moment, in an empty folder."""
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
        exec(compile(snippet, str(path), "exec"), space)


def test_its_commands_exist_and_no_link_is_dead():
    root = README.parent
    pages = [*root.glob("*.md"), *root.glob("[bet]*/README.md"), *root.glob("npchar/guide/*.md")]
    assert len(pages) == 18
    for path in pages:
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.relative_to(root)}: {link}"
    recipes = README.read_text(encoding="utf-8").partition("## Recipes")[2].partition("\n## ")[0]
    commands = re.findall("`npchar ([^`]*)`", recipes)
    assert len(commands) >= 8
    for command in commands:
        parser().parse_args(shlex.split(command))


@pytest.mark.parametrize(
    "arguments",
    [
        ["music.py", "--tunes", "40", "--epochs", "1", "--wav", "tune.wav"],
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
        with wave.open("tune.wav") as file:
            seconds = file.getnframes() / file.getframerate()
        assert f"recording of {seconds:.1f} s" in out


def test_the_chinese_snippets_and_commands(tmp_path, monkeypatch):
    """The snippets run in order on texts like those described, and the commands exist."""
    guide = CHINESE.read_text(encoding="utf-8")
    line = "却说那日天气晴和，众人都在园中赏花。"
    Path(tmp_path, "novel.txt").write_text(f"{line}\n" * 90 + "龘\n", encoding="gb18030")
    monkeypatch.chdir(tmp_path)
    fit, load = npchar.Model.fit, npchar.load_corpus
    quick = {"epochs": 2, "workers": 1, "verbose": False}
    monkeypatch.setattr(npchar.Model, "fit", lambda *a, **named: fit(*a, **named | quick))
    monkeypatch.setattr(
        npchar,
        "load_corpus",
        lambda name, **named: SHORT if name == "nietzsche" else load(name, **named),
    )
    space = {}
    assert len(snippets(CHINESE)) == 3
    for snippet in snippets(CHINESE):
        exec(compile(snippet, "README.zh.md", "exec"), space)
    assert "龘" in space["text"]
    assert "龘" not in space["vocabulary"]
    commands = re.findall(r"^    npchar (.*?)(?: {2,}#.*)?$", guide, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_the_chinese_readme_has_the_links_commands_and_results_of_the_english_one():
    english, chinese = (path.read_text(encoding="utf-8") for path in (README, CHINESE))
    for pattern in (
        r"\]\(([^)]+)\)",
        "`((?:npchar|python|pip) [^`]*)`",
        r"\b1\.\d\d+\b",
        r"^    .*&& .*$",
    ):
        found = re.findall(
            pattern, english.replace("python\nexamples", "python examples"), re.MULTILINE
        )
        missing = set(found) - set(re.findall(pattern, chinese, re.MULTILINE)) - {"README.zh.md"}
        assert found
        assert not missing
