"""The checks that contributors and CI share: ``nox -l`` lists them, ``nox -s lint`` runs one."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

OLDEST, NEWEST = "3.10", "3.13"
PACKAGES = "text", "layers", "network", "files", "generation", "analysis", "training"
DOCUMENTED = ["npchar", *(f"npchar.{name}" for name in PACKAGES)]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check type annotations."""
    session.install("-e", ".[lint]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the default suite; arguments after -- go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """Run the default suite on the oldest Python with the oldest supported packages."""
    session.install("-e", ".[test]", "numpy==1.25.*", "requests==2.28.*")
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the default suite on the newest Python with the newest packages."""
    session.install("--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the branch coverage of the default suite."""
    session.install("-e", ".[test]", "coverage[toml]>=7")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the API reference and check it."""
    session.install("-e", ".[test,docs]")
    session.run("pdoc", "-d", "numpy", "-o", "site", *DOCUMENTED)
    session.run("pytest", "-m", "slow", "tests/test_site.py")


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run every notebook from a clean kernel."""
    session.install("-e", ".[test,run-notebooks]")
    session.run("pytest", "tests/test_notebooks.py")


@nox.session
def mpi(session: nox.Session) -> None:
    """Run the tests that need MPI."""
    session.install("-e", ".[test,mpi]")
    session.run("pytest", "tests/training/test_mpi.py")
