"""Corpora from files and from a real HTTPS server on this machine."""

import contextlib
import hashlib
import http.server
import os
import py_compile
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import trustme
from children import LIMIT, python, run_python

import npchar
from npchar import CorpusError, DownloadError, load_corpus
from npchar.text import corpus, download

TEXT = "Supposing that Truth is a woman--what then?\n" * 50


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers requests with the response that the test has set for the path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answers = self.server.answers[self.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def log_message(self, *_):
        pass


def body(data, declared=None, drop=False):
    """A response with this body; `declared` is a false length."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(declared or len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        if drop:
            handler.close_connection = True

    return answer


def status(code, **headers):
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, path


@pytest.fixture
def server(authority, loopback, tmp_path, monkeypatch):
    ca, ca_path = authority
    server = http.server.ThreadingHTTPServer((loopback, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answers, server.asked = {}, []
    server.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_path))
    monkeypatch.setenv("NPCHAR_CACHE", str(tmp_path / "cache"))
    waiting = SimpleNamespace(sleep=server.asked.append)
    monkeypatch.setattr(download, "time", waiting)  # only in this module
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_fetched_once_then_kept(server, tmp_path, capsys):
    server.answers["/a.txt"] = [body(TEXT.encode())]
    assert load_corpus(f"{server.url}/a.txt") == TEXT
    assert f"downloading {server.url}/a.txt" in capsys.readouterr().err
    assert load_corpus(f"{server.url}/a.txt") == TEXT
    assert server.asked == ["/a.txt"]
    assert len(files(tmp_path)) == 1


def test_a_named_corpus_is_verified(server, tmp_path, monkeypatch):
    data = TEXT.encode()
    source = corpus.Source(f"{server.url}/n.txt", hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(corpus.CORPORA, "nietzsche", source)
    server.answers["/n.txt"] = [body(data + b"!"), body(data)]
    with pytest.raises(CorpusError, match=r"has changed: expected SHA-256"):
        load_corpus("nietzsche", progress=False)
    assert files(tmp_path) == []
    assert load_corpus("nietzsche", progress=False) == TEXT
    (tmp_path / "cache" / files(tmp_path)[0]).write_bytes(b"spoilt")
    assert load_corpus("nietzsche", progress=False) == TEXT
    assert [asked for asked in server.asked if asked == "/n.txt"] == 3 * ["/n.txt"]


def test_a_dropped_download_is_tried_again(server):
    data = TEXT.encode()
    server.answers["/a.txt"] = [body(data[:700], len(data), drop=True), body(data)]
    assert load_corpus(f"{server.url}/a.txt", progress=False) == TEXT


def test_a_download_that_always_drops_leaves_nothing(server, tmp_path):
    server.answers["/a.txt"] = [body(b"x" * 700, 2200, drop=True)]
    with pytest.raises(DownloadError, match="ended after 700|700 bytes read"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    assert server.asked.count("/a.txt") == 3
    assert files(tmp_path) == []


def test_a_busy_server_is_asked_again(server):
    server.answers["/a.txt"] = [status(503), status(429), body(TEXT.encode())]
    assert load_corpus(f"{server.url}/a.txt", progress=False) == TEXT
    assert server.asked == ["/a.txt", 2, "/a.txt", 4, "/a.txt"]


def test_not_found_is_final(server):
    server.answers["/a.txt"] = [status(404)]
    with pytest.raises(DownloadError, match="404.*pass its path"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    assert server.asked == ["/a.txt"]


def test_redirects_stay_on_https(server):
    server.answers["/a.txt"] = [status(302, Location="/b.txt")]
    server.answers["/b.txt"] = [body(TEXT.encode())]
    server.answers["/c.txt"] = [status(301, Location="http://localhost/plain.txt")]
    assert load_corpus(f"{server.url}/a.txt", progress=False) == TEXT
    with pytest.raises(DownloadError, match="it redirects to another protocol"):
        load_corpus(f"{server.url}/c.txt", progress=False)


def test_too_large_and_empty_are_refused(server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    server.answers["/a.txt"] = [body(TEXT.encode())]
    with pytest.raises(DownloadError, match="larger than 1,000 bytes"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    server.answers["/e.txt"] = [status(200)]
    with pytest.raises(DownloadError, match="empty"):
        load_corpus(f"{server.url}/e.txt", progress=False)
    assert files(tmp_path) == []


def test_a_web_page_is_no_corpus(server, tmp_path):
    page = b"\n <!DOCTYPE html><html><title>Please log in</title></html>"
    server.answers["/a.txt"] = [body(page)]
    with pytest.raises(DownloadError, match="got a web page"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    assert files(tmp_path) == []


def test_an_endless_body_ends(server, monkeypatch, tmp_path):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                handler.wfile.write(b"on and on " * 50)

    server.answers["/a.txt"] = [answer]
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    with pytest.raises(DownloadError, match="larger than 100,000 bytes"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    assert files(tmp_path) == []


def test_a_reset_half_way_is_tried_again(server):
    def reset(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"x" * 5000)
        handler.wfile.flush()
        linger = struct.pack("ii", 1, 0)  # close by a reset
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    server.answers["/a.txt"] = [reset, status(503), body(TEXT.encode())]
    assert load_corpus(f"{server.url}/a.txt", progress=False) == TEXT


@pytest.mark.slow
def test_two_processes_fetch_at_once(server, tmp_path):
    data = TEXT.encode() * 200

    def slowly(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 65536):
            handler.wfile.write(data[start : start + 65536])
            time.sleep(0.02)

    server.answers["/a.txt"] = [slowly]
    program = (
        "import sys, hashlib, npchar; "
        "print(hashlib.sha256(npchar.load_corpus(sys.argv[1]).encode()).hexdigest())"
    )
    processes = [python("-c", program, f"{server.url}/a.txt") for _ in range(2)]
    expected = hashlib.sha256(data).hexdigest() + "\n"
    for process in processes:
        out, errors = process.communicate(timeout=LIMIT)
        assert (process.returncode, out) == (0, expected), errors
    assert len(files(tmp_path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_disk_that_is_full(server, tmp_path):
    server.answers["/a.txt"] = [body(TEXT.encode() * 100)]
    program = (
        "import resource, sys, npchar\n"
        "sys.dont_write_bytecode = True\n"  # it would be cut off, for all later processes
        "resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))\n"
        "try:\n"
        "    npchar.load_corpus(sys.argv[1])\n"
        "except npchar.DownloadError as error:\n"
        "    print(error)"
    )
    done = run_python("-c", program, f"{server.url}/a.txt")
    where = tmp_path / "cache"
    assert f"cannot write to {where}: File too large" in done.stdout, done.stderr
    assert server.asked == ["/a.txt"]
    assert files(tmp_path) == []


def test_offline_with_the_file_there_asks_nobody(server, monkeypatch):
    server.answers["/a.txt"] = [body(TEXT.encode())]
    load_corpus(f"{server.url}/a.txt", progress=False)
    server.shutdown()
    monkeypatch.setattr(socket, "create_connection", None)  # any connection would fail
    assert load_corpus(f"{server.url}/a.txt", progress=False) == TEXT
    assert server.asked == ["/a.txt"]


def test_no_network_and_a_certificate_nobody_knows(server, monkeypatch):
    server.answers["/a.txt"] = [body(b"x")]
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(DownloadError, match=r"(?i)certificate"):
        load_corpus(f"{server.url}/a.txt", progress=False)
    with pytest.raises(DownloadError, match="connection was refused"):
        load_corpus("https://localhost:1/a.txt", progress=False)


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NPCHAR_CACHE", str(tmp_path / "file"))
    with pytest.raises(CorpusError, match="NPCHAR_CACHE"):
        load_corpus("https://localhost:1/a.txt", progress=False)


# Files


def test_other_encodings(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("Götzen".encode("cp1252"))
    with pytest.raises(CorpusError, match=r"1 undecodable.*line 1.*cp1252"):
        load_corpus(path)
    assert load_corpus(path, encoding="cp1252") == "Götzen"
    with pytest.raises(CorpusError, match="no encoding 'klingon'"):
        load_corpus(path, encoding="klingon")
    with pytest.raises(CorpusError, match="not ascii text"):
        load_corpus(path, encoding="ascii")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_goes_before_the_encoding(tmp_path, capsys, encoding):
    path = tmp_path / "text.txt"
    path.write_bytes("Götzen\r\nDämmerung\r".encode(encoding))
    assert load_corpus(path) == "Götzen\nDämmerung\n"
    note = capsys.readouterr().err
    assert encoding.removesuffix("-sig") in note
    assert "line feeds" in note


def test_several_files(tmp_path):
    for name, content in (("a", "one"), ("b", "two\n"), ("c", "three")):
        (tmp_path / name).write_text(content)
    paths = [tmp_path / name for name in "abc"]
    assert load_corpus(paths) == "one\ntwo\nthree"
    with pytest.raises(CorpusError, match="at least one name"):
        load_corpus([])
    with pytest.raises(CorpusError, match="no file"):
        load_corpus([paths[0], tmp_path / "d"])


def test_what_is_not_a_text(tmp_path):
    (tmp_path / "zeros").write_bytes(b"abc\0def")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder" / ".hidden").mkdir(parents=True)
    for source, message in (
        (tmp_path / "zeros", r"1 .*zero byte"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "folder", "expected text files in the folder"),
        (tmp_path / "none.txt", "no file"),
        ("nietsche", "no file 'nietsche'.*corpus.*nietzsche"),
        ("http://localhost/a.txt", "only https"),
        ("ftp://localhost/a.txt", "only https"),
    ):
        with pytest.raises(CorpusError, match=message):
            load_corpus(source)


def test_files_in_a_folder_that_are_not_text_are_left_out(tmp_path, capsys):
    folder = tmp_path / "src"
    (folder / "pkg").mkdir(parents=True)
    (folder / "a.py").write_text("import b\n")
    (folder / "pkg" / "b.py").write_text("import c\n")
    expected = load_corpus(folder)
    assert capsys.readouterr().err == ""
    (folder / "__init__.py").touch()
    py_compile.compile(str(folder / "a.py"), cfile=str(folder / "a.pyc"))
    (folder / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "data.bin").write_bytes(random.Random(1).randbytes(1000))
    (folder / "gone").symlink_to("nowhere")
    (folder / "pkg" / "loop").symlink_to(folder)
    npchar.Model(npchar.Vocabulary("ab"), hidden_size=1).save(folder / "src.npz")
    assert load_corpus(folder) == expected
    (line,) = capsys.readouterr().err.splitlines()
    for name in ("__init__.py (empty)", "cover.png (a picture)", "gone (not a file)"):
        assert name in line
    assert "a.pyc (a binary file)" in line
    assert load_corpus(folder, progress=False) == expected
    assert load_corpus(folder, errors="ignore", progress=False) == expected
    assert capsys.readouterr().err == ""
    for name in ("__init__.py", "a.pyc", "cover.png", "data.bin", "gone", "src.npz"):
        with pytest.raises(CorpusError, match=name):
            load_corpus(folder / name)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read all files"
)
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(CorpusError, match="cannot read .*closed: Permission denied"):
        load_corpus(tmp_path)


def test_a_text_in_another_encoding_in_a_folder_is_not_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("Götzen", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Dämmerung", encoding="cp1252")
    with pytest.raises(CorpusError, match=r"b\.txt.*encoding='cp1252'"):
        load_corpus(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_special_files(tmp_path):
    """The process has limited memory; the device is endless and the FIFO has no writer."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.txt").write_text("hello")
    program = (
        "import resource, sys, npchar\n"
        "sys.dont_write_bytecode = True\n"  # it would be cut off, for all later processes
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))\n"
        "print(npchar.load_corpus(sys.argv[1]))\n"
        "for device in ('/dev/zero', '/dev/null'):\n"
        "    try:\n"
        "        npchar.load_corpus(device)\n"
        "    except npchar.CorpusError as error:\n"
        "        print(error)\n"
    )
    done = run_python("-c", program, tmp_path)
    assert "fifo (not a file)" in done.stderr
    assert re.fullmatch(r"hello\n(.* got the device /dev/(zero|null)\n){2}", done.stdout), done


def test_a_local_path_takes_precedence_over_a_named_corpus(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPCHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")  # no network
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / "a.txt").write_text("to be")
    (tmp_path / "nietzsche").write_text("the will")
    assert load_corpus(["shakespeare", "nietzsche"]) == "to be\nthe will"
    folder, file = capsys.readouterr().err.splitlines()
    assert "the local 'shakespeare'" in folder
    assert "the local 'nietzsche'" in file
    assert load_corpus("./nietzsche") == load_corpus("nietzsche", progress=False) == "the will"
    assert capsys.readouterr().err == ""


def test_home_is_expanded_for_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a").write_text("hello")
    assert load_corpus("~/texts") == load_corpus("~/texts/a") == "hello"


def test_a_folder_is_its_files(tmp_path):
    for name, content in (("b.txt", "two"), ("a.txt", "one\n"), ("in/c", "three"), (".no", "x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert load_corpus(tmp_path) == "one\ntwo\nthree"
    assert load_corpus([tmp_path / "in", tmp_path]) == "three\none\ntwo\nthree"
    assert load_corpus(tmp_path, documents="files") == ["one\n", "two", "three"]
    assert load_corpus(tmp_path, documents="lines") == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF.*save it as plain text"),
        (b"PK\x03\x04\x14\0", r"a \.zip, \.docx"),
        (b"7z\xbc\xaf'\x1c\0\4", "a 7-Zip archive.*unpack it"),
        (b"\x28\xb5\x2f\xfd\4", "a Zstandard archive"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Word or Excel file"),
    ],
)
def test_other_files_are_named(tmp_path, beginning, kind):
    (tmp_path / "file").write_bytes(beginning + b" and more")
    with pytest.raises(CorpusError, match=kind):
        load_corpus(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<!DOCTYPE html>\n<html><p>Hello", "HTML or XML"),
        ('{"text": "Hello"}\n{"text": "you"}\n', "JSON"),
        ("id,name,text\n1,anna,hello\n2,ben,you\n", "a table"),
        ("id\tname\ttext\n1\tanna\thello\n2\tben\tyou\n", "a table"),
        ("Well, well, well\nso, or so, it is,\nand no\n", None),
        ("one\ntwo\nthree\nfour\n", None),
    ],
)
def test_markup_is_told_and_kept(tmp_path, capsys, text, kind):
    (tmp_path / "file").write_text(text)
    assert load_corpus(tmp_path / "file") == text
    told = capsys.readouterr().err
    assert (f"it looks like {kind}" in told) if kind else not told


def test_the_real_corpora_are_the_named_ones(corpus_path):
    for name, source in corpus.CORPORA.items():
        assert download.hash_of(corpus_path.with_name(f"{name}.txt")) == source.sha256


def test_requests_is_loaded_only_when_used(corpus_path):
    program = (
        "import sys, npchar; npchar.load_corpus(sys.argv[1]); "
        "print('requests' in sys.modules, npchar.__version__)"
    )
    done = run_python("-c", program, corpus_path)
    assert done.stdout == f"False {npchar.__version__}\n"


@pytest.mark.parametrize("share", [0.1, 0.25, 1 / 3])
def test_of_several_files_the_end_of_each_is_held_out(tmp_path, share):
    """The split equals that of `fit` to the character."""
    texts = ["a" * 99, "b" * 1000, "c" * 37, "d" * 1]
    for k, text in enumerate(texts):
        (tmp_path / f"{k}").write_text(text)
    paths = sorted(tmp_path.iterdir())
    paths = [path for path in paths if path.is_file()]
    text = load_corpus(paths, held_out=share)
    assert sorted(text) == sorted(load_corpus(paths))
    n = int(len(text) * share)
    for letter, whole in zip("abc", texts):
        assert text[-n:].count(letter) == pytest.approx(len(whole) * share, abs=2)
    assert load_corpus(paths[:1], held_out=share) == texts[0]
    assert load_corpus(paths, held_out=7) == load_corpus(paths)  # `fit` reports the error
