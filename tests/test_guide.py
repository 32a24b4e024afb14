"""The user guide: its snippets run, its commands exist, and its modules have its pages."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from children import run_python
from test_readme import SHORT, snippets

from npchar import guide
from npchar.cli.options import parser

FOLDER = Path(guide.__file__).parent
PAGES = sorted(FOLDER.glob("*.md"))


def run_snippet(code, space):
    """Run a snippet. If the comment after an expression is a literal, it must be its value.

    Returns the number of values that were compared.
    """
    count, lines = 0, code.splitlines()
    for node in ast.parse(code).body:
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), "snippet", "exec"), space)
            continue
        value = eval(compile(ast.Expression(node.value), "snippet", "eval"), space)
        try:
            expected = ast.literal_eval(lines[node.end_lineno - 1].partition("  # ")[2].strip())
        except (SyntaxError, ValueError):
            continue
        if isinstance(expected, float):
            expected = pytest.approx(expected, abs=0.005)
        assert value == expected, ast.unparse(node)
        count += 1
    return count


def test_a_wrong_value_in_a_comment_is_detected():
    assert run_snippet("x = 1\nx / 3  # 0.33\nx  # a comment", {}) == 1
    for wrong in ("1 / 3  # 0.34", "'a'  # 'b'", "(1, 2)  # (1, 3)"):
        with pytest.raises(AssertionError):
            run_snippet(wrong, {})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_snippets_run_in_order_and_have_the_values_of_their_comments(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-texts.txt").write_text((SHORT * 5)[:10_000])
    Path("posts.csv").write_text('name,text\nanna,"hello, world"\nben,good bye\n')
    Path("poems.txt").write_text("a rose\nis a rose\n\nand so on\n")
    space, code = {}, snippets(path)
    count = sum(run_snippet(each, space) for each in code)
    assert bool(count) == bool(code)


def test_commands_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    commands = re.findall("^npchar (.*)$", blocks, re.MULTILINE)
    commands += re.findall(r"`npchar (\w+ [^`]*)`", text)
    assert len(commands) >= 10
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_each_page_has_a_module_and_is_linked():
    assert sorted(["README", *guide.__all__]) == [path.stem for path in PAGES]
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+)\.md\)", index) == guide.__all__
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert modules == set(guide.__all__)


def test_npchar_does_not_import_the_guide():
    done = run_python("-c", "import npchar, sys; print('npchar.guide' in sys.modules)")
    assert done.stdout == "False\n"
