"""Files from the network: fetched whole, checked, and kept.

``text/corpus.py`` calls it with an address. It is the only module that imports
``requests``, and only when something has to be fetched. Whatever a server does wrong
(break off, stall, trickle, send a wrong length or another file) ends in an error message,
and only a complete and verified file gets into the cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from npchar.version import in_browser

# What only fetching needs is imported there: it would double the time of `import npchar`.
if TYPE_CHECKING:
    from pathlib import Path

    import requests

__all__ = ["CorpusError", "DownloadError"]

MAX_BYTES = 1 << 30  # a download larger than this is refused
ATTEMPTS = 3
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of the body
MAX_WAIT = 20.0  # seconds between two attempts, whatever the server asks for
DEADLINE = 900.0  # seconds for all of it
MAX_REDIRECTS = 5
CHUNK = 1 << 16


class CorpusError(ValueError):
    """A corpus that is not there, or is not text.

    Examples
    --------
    >>> try:
    ...     npchar.load_corpus("nowhere.txt")
    ... except npchar.CorpusError as error:
    ...     print(str(error)[:29])
    there is no file 'nowhere.txt
    """


class DownloadError(CorpusError):
    """A corpus that could not be fetched.

    Examples
    --------
    >>> try:
    ...     text = npchar.load_corpus("http://example.org/text")  # not https: it is not even asked
    ... except npchar.DownloadError:  # no network: a CorpusError of this kind
    ...     text = "another text"
    ... except npchar.CorpusError as error:
    ...     print(error)
    cannot fetch http://example.org/text: only https:// addresses are fetched
    """


def cache_directory() -> Path:
    """Where fetched corpora are kept: ``NPCHAR_CACHE``, or the system's place for caches."""
    from pathlib import Path

    if own := os.environ.get("NPCHAR_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "npchar"


def fetched(url: str, sha256: str | None, progress: bool) -> Path:
    """The cached file of `url`, fetched first if it is not there or not what it must be."""
    import hashlib
    import tempfile
    from pathlib import Path
    from urllib.parse import urlsplit

    name = re.sub(r"[^\w.-]", "_", urlsplit(url).path.rpartition("/")[2]) or "corpus"
    path = cache_directory() / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if path.is_file() and (sha256 is None or hash_of(path) == sha256):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}-")
        os.close(descriptor)
    except OSError as error:
        raise CorpusError(
            f"cannot keep downloads in {path.parent}: {error.strerror}; set NPCHAR_CACHE to a "
            "folder that can be written"
        ) from None
    try:
        download(url, Path(temporary), progress)
        if sha256 is not None and (came := hash_of(Path(temporary))) != sha256:
            other = path.with_name(path.name + ".unverified")
            os.replace(temporary, other)
            raise CorpusError(
                f"{url} is no longer the file it was: its SHA-256 should be {sha256} and is "
                f"{came}. It is kept as {other}; look at it, and pass that path to use it as it is"
            )
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return path


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    import hashlib

    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(url: str, path: Path, progress: bool) -> None:
    """Fetch `url` to `path`, whole; a passing fault is tried again, a few times."""
    import random

    advice = "Try again later, or fetch it by other means and pass the path of the file"
    if in_browser():
        advice = (
            "A browser fetches from other sites only what they allow: put the file where Python "
            "finds it, beside the notebook, and pass its path"
        )
    try:
        import requests
        import urllib3
    except ImportError as error:  # Pyodide has them only where they were asked for
        raise DownloadError(f"cannot fetch {url}: {error}. {advice}") from None
    end = time.monotonic() + DEADLINE
    for attempt in range(1, ATTEMPTS + 1):
        wait: float = 2 ** (attempt - 1) * random.uniform(0.5, 1)
        try:
            with requests.Session() as session, open(path, "wb") as file:
                response = get(session, url)
                if response.ok:
                    write_body(response, file, url, progress, end)
                    return
                reason = f"the server answered {response.status_code} {response.reason}"
                asked = whole_number(response, "Retry-After")
                wait = wait if asked is None else min(asked, MAX_WAIT)
                final = response.status_code not in (408, 425, 429, 500, 502, 503, 504)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            reason, final = plain_reason(error), False
        except requests.RequestException as error:
            reason, final = str(error), True
        except OSError as error:  # requests' own are OSErrors too, so this comes last
            reason, final = f"{path.parent} cannot take it: {error.strerror}", True
        if final or attempt == ATTEMPTS or time.monotonic() + wait > end:
            raise DownloadError(f"cannot fetch {url}: {reason}. {advice}")
        if progress:
            print(f"{url}: {reason}; trying again in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)


def get(session: requests.Session, url: str) -> requests.Response:
    """Ask for `url`, following redirects to https addresses only."""
    from urllib.parse import urljoin

    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(
            url,
            headers={"Accept-Encoding": "identity"},  # so that the length can be checked
            stream=True,
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        if not response.is_redirect:
            return response
        target = urljoin(url, response.headers["Location"])
        response.close()
        if not target.startswith("https://"):
            raise DownloadError(f"cannot fetch {url}: it leads to {target}, which is not https")
        url = target
    raise DownloadError(f"cannot fetch {url}: more than {MAX_REDIRECTS} redirects")


def write_body(
    response: requests.Response, file: BinaryIO, url: str, progress: bool, end: float
) -> None:
    """Write a response's body to a file before `end`, and check that all of it came."""
    import requests

    length = whole_number(response, "Content-Length")
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":  # it was not asked for; unpacked, it could be of any size
        raise DownloadError(f"cannot fetch {url}: it comes packed as {packed}")
    live = progress and sys.stderr.isatty()
    if progress:
        print(f"fetching {url}", file=sys.stderr)
    came = 0
    for piece in pieces(response):
        if not came and re.match(rb"\s*<(!doctype html|html)\b", piece[:200], re.IGNORECASE):
            raise DownloadError(
                f"cannot fetch {url}: a web page came in its place (from a login of the network, "
                "perhaps); open the address in a browser, or pass the path of a file"
            )
        came += len(piece)
        if max(came, length or 0) > MAX_BYTES:
            raise DownloadError(f"cannot fetch {url}: it is larger than {MAX_BYTES:,} bytes")
        if time.monotonic() > end:
            raise DownloadError(
                f"cannot fetch {url}: only {came:,} bytes of it came within {DEADLINE:.0f} s"
            )
        file.write(piece)
        if live:
            of = f" of {length:,}" if length else ""
            print(f"\r{came:,}{of} bytes", end="", file=sys.stderr, flush=True)
    if live:
        print(file=sys.stderr)
    if length is not None and came != length:
        raise requests.ConnectionError(f"the download broke off after {came:,} of {length:,} bytes")
    if not came:
        raise DownloadError(f"cannot fetch {url}: the answer is empty")


def whole_number(response: requests.Response, header: str) -> int | None:
    """The number in a header; None if there is none, or something else."""
    text = response.headers.get(header, "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes, and as it is."""
    # read waits for a full piece, for hours if the server trickles; read1 takes what is there.
    # urllib3 has it since 2.1.
    read = getattr(response.raw, "read1", response.raw.read)
    while piece := read(CHUNK):
        yield piece


def plain_reason(error: Exception) -> str:
    """What went wrong in a few words, out of the nested exceptions that requests raises."""
    text = str(error)
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return "its host name cannot be looked up (no network?)"
    if "refused" in text:
        return "the connection was refused"
    if "timed out" in text:
        return "it took too long to answer"
    if read := re.search(r"IncompleteRead\((\d+) bytes read, (\d+) more expected", text):
        got, missing = map(int, read.groups())
        return f"the download broke off after {got:,} of {got + missing:,} bytes"
    return text
