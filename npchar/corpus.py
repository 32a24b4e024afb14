"""Text from a name, a file or the network: fetched once, checked, decoded.

The first station of the data's way; next is ``text.py``. The only room that
imports ``requests``, and only when something has to be fetched.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

# What only fetching and reading need is imported there: it would double the time of
# `import npchar`.
if TYPE_CHECKING:
    from pathlib import Path

    import requests


class Source(NamedTuple):
    """Where a named corpus comes from, and how to know it."""

    url: str
    sha256: str


CORPORA = {
    "nietzsche": Source(
        "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
        "23cf69874ab69d3d256099ab530ea4be24d47d9675b673bcc67cbcd6298ec647",
    ),
}

MAX_BYTES = 1 << 30  # a download larger than this is refused
ATTEMPTS = 3
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of the body
MAX_WAIT = 20.0  # seconds between two attempts, whatever the server asks for
MAX_REDIRECTS = 5
CHUNK = 1 << 16


class CorpusError(ValueError):
    """A corpus that is not there, or is not text."""


class DownloadError(CorpusError):
    """A corpus that could not be fetched."""


def load_corpus(
    source: str | os.PathLike[str], *, encoding: str = "utf-8", progress: bool = True
) -> str:
    """The text of a corpus.

    Parameters
    ----------
    source
        A name ("nietzsche"), the path of a file, or an https URL. What is
        fetched is kept in `cache_directory()`, and from then on the network is
        not asked again.
    encoding
        Of the file. A byte order mark at its beginning is left out, and line
        ends of every kind become a single line feed.
    progress
        Tell on standard error how a download goes.

    Raises
    ------
    CorpusError
        For an unknown name, a missing file, a folder, bytes that are not text.
    DownloadError
        When the network does not deliver; it is a CorpusError too.
    """
    from pathlib import Path

    name = os.fspath(source)
    if name in CORPORA:
        path = fetched(CORPORA[name].url, CORPORA[name].sha256, progress)
    elif name.startswith("https://"):
        path = fetched(name, None, progress)
    elif re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        raise CorpusError(f"cannot fetch {name}: only https:// addresses are fetched")
    else:
        path = Path(name).expanduser()
        if not path.exists():
            raise CorpusError(
                f"there is no file {name!r}, nor a corpus of that name; the named ones are: "
                + ", ".join(CORPORA)
            )
        if path.is_dir():
            raise CorpusError(f"{name} is a folder; pass the path of a text file in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    return decode(data, encoding, str(path))


def decode(data: bytes, encoding: str, name: str) -> str:
    """The text of a file's bytes: no byte order mark, line feeds for line ends."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        for mark, found in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
            if data.startswith(mark):
                raise CorpusError(f"{name} is not {encoding} but {found}: pass encoding={found!r}")
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except LookupError:
        raise CorpusError(f"there is no encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{name} is not {encoding.removesuffix('-sig')} text: the byte "
            f"0x{data[error.start]:02x} at offset {error.start} (line {line}) cannot be decoded; "
            "if it is text in another encoding, pass that, as in encoding='cp1252'"
        ) from None
    if "\0" in text:
        raise CorpusError(
            f"{name} is not a text file: it has a zero byte, at character {text.index(chr(0))}"
        )
    if not text:
        raise CorpusError(f"{name} is empty")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


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

    import requests

    for attempt in range(1, ATTEMPTS + 1):
        wait: float = 2 ** (attempt - 1) * random.uniform(0.5, 1)
        try:
            with requests.Session() as session, open(path, "wb") as file:
                response = get(session, url)
                if response.ok:
                    write_body(response, file, url, progress)
                    return
                reason = f"the server answered {response.status_code} {response.reason}"
                asked = response.headers.get("Retry-After", "")
                wait = min(float(asked), MAX_WAIT) if asked.isdigit() else wait
                final = response.status_code not in (408, 425, 429, 500, 502, 503, 504)
        except (requests.ConnectionError, requests.Timeout) as error:
            reason, final = plain_reason(error), False
        except requests.exceptions.ChunkedEncodingError as error:
            reason, final = plain_reason(error), False
        except requests.RequestException as error:
            reason, final = str(error), True
        if final or attempt == ATTEMPTS:
            raise DownloadError(
                f"cannot fetch {url}: {reason}. Try again later, or fetch it by other means and "
                "pass the path of the file"
            )
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


def write_body(response: requests.Response, file: BinaryIO, url: str, progress: bool) -> None:
    """Write a response's body to a file, and see to it that all of it came."""
    import requests

    declared = response.headers.get("Content-Length", "")
    length = int(declared) if declared.isdigit() else None
    live = progress and sys.stderr.isatty()
    if progress:
        print(f"fetching {url}", file=sys.stderr)
    came = 0
    for chunk in response.iter_content(CHUNK):
        came += len(chunk)
        if max(came, length or 0) > MAX_BYTES:
            raise DownloadError(f"cannot fetch {url}: it is larger than {MAX_BYTES:,} bytes")
        file.write(chunk)
        if live:
            of = f" of {length:,}" if length else ""
            print(f"\r{came:,}{of} bytes", end="", file=sys.stderr, flush=True)
    if live:
        print(file=sys.stderr)
    if length is not None and came != length:
        raise requests.ConnectionError(f"the download broke off after {came:,} of {length:,} bytes")
    if not came:
        raise DownloadError(f"cannot fetch {url}: the answer is empty")


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
