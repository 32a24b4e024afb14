"""Downloads files over https into a cache.

``text/corpus.py`` calls `fetched` with a URL. Only complete files with the expected checksum, if
there is one, are stored in the cache. `requests` is imported only for a download.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

from npchar.version import in_browser

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CorpusError", "DownloadError"]

MAX_BYTES = 1 << 30  # the largest download
ATTEMPTS = 3
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of the body
CHUNK = 1 << 16  # bytes
BUSY = (408, 425, 429, 500, 502, 503, 504)  # status codes after which the download is repeated
REASONS = {  # short descriptions of common errors of requests
    "Failed to resolve|getaddrinfo": "its host name cannot be resolved (no network?)",
    "refused": "the connection was refused",
    "timed out": "the server took too long to answer",
    "No connection adapters": "it redirects to another protocol, and only https is supported",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the server cannot be verified",
}


class CorpusError(ValueError):
    """A corpus is missing or cannot be read as text.

    Examples
    --------
    >>> try:
    ...     npchar.load_corpus("nowhere.txt")
    ... except npchar.CorpusError as error:
    ...     print(str(error)[:29])
    there is no file 'nowhere.txt
    """


class DownloadError(CorpusError):
    """A corpus could not be downloaded.

    Examples
    --------
    >>> try:
    ...     text = npchar.load_corpus("http://example.org/text")  # not https
    ... except npchar.DownloadError:
    ...     text = "another text"
    ... except npchar.CorpusError as error:
    ...     print(error)
    cannot download http://example.org/text: only https:// URLs are supported
    """


def cache_directory() -> Path:
    """The folder of downloads: ``NPCHAR_CACHE``, or ``npchar`` in the user's cache folder."""
    from pathlib import Path  # here, for a fast `import npchar`

    if folder := os.environ.get("NPCHAR_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "npchar"


def fetched(url: str, sha256: str | None, progress: bool) -> Path:
    """The cached file of `url`. It is downloaded if it is missing or has another checksum."""
    import hashlib  # here, for a fast `import npchar`
    import tempfile
    from pathlib import Path
    from urllib.parse import urlsplit

    name = re.sub(r"[^\w.-]", "_", urlsplit(url).path.rpartition("/")[2]) or "corpus"
    path = cache_directory() / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if path.is_file() and sha256 in (None, hash_of(path)):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            temporary = Path(folder, name)
            download(url, temporary, progress)
            if sha256 not in (None, checksum := hash_of(temporary)):
                raise CorpusError(
                    f"{url} has changed: expected SHA-256 {sha256}, got {checksum}; to use the "
                    "new file, download it in another way and pass its path"
                )
            temporary.replace(path)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {path.parent}: {error.strerror}; set NPCHAR_CACHE to another folder"
        ) from None
    return path


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def download(url: str, path: Path, progress: bool) -> None:
    """Download `url` to `path`; try again after temporary failures."""
    advice = "download the file in another way and pass its path"
    if in_browser():
        advice = (
            "browsers block downloads that the other site does not allow; put the file next to "
            "the notebook and pass its path"
        )
    try:
        import requests  # here, for a fast `import npchar`; a browser may lack it
    except ImportError as error:
        raise DownloadError(f"cannot download {url}: {error}; {advice}") from None
    if progress:
        print(f"downloading {url}", file=sys.stderr)
    temporary_failures = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _download_once(url, path)
        except requests.RequestException as error:
            is_busy = error.response is not None and error.response.status_code in BUSY
            if attempt == ATTEMPTS or not (is_busy or isinstance(error, temporary_failures)):
                fault = str(error)
                reason = next((text for sign, text in REASONS.items() if re.search(sign, fault)),
                              fault)  # fmt: skip
                raise DownloadError(f"cannot download {url}: {reason}; {advice}") from None
        time.sleep(2**attempt)


def _download_once(url: str, path: Path) -> None:
    """Write the body of the response to `path`; raise a RequestException for any error."""
    import requests

    with requests.Session() as session, open(path, "wb") as file:
        del session.adapters["http://"]  # refuse redirects from https to http
        # Without compression, the length of the body can be checked.
        headers = {"Accept-Encoding": "identity"}
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK):
                if not file.tell() and re.match(rb"\s*<(!doctype )?html\b", chunk, re.IGNORECASE):
                    raise requests.RequestException(
                        "expected a text, got a web page (does the network need a login?)"
                    )
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise requests.RequestException(f"the file is larger than {MAX_BYTES:,} bytes")
        length, size = response.headers.get("Content-Length", ""), file.tell()
    if not size:
        raise requests.RequestException("the response is empty")
    if length.isdecimal() and "Content-Encoding" not in response.headers and size != int(length):
        raise requests.ConnectionError(f"it ended after {size:,} of {int(length):,} bytes")
