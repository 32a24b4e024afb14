"""Checks for contributors and CI. ``nox -l`` lists them, and ``nox -s lint`` runs one."""

import random
import shutil
import sqlite3
from contextlib import closing

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

OLDEST, NEWEST = "3.10", "3.13"
PACKAGES = "guide", "text", "layers", "network", "files", "generation", "analysis", "training"
DOCUMENTED = ["npchar", *(f"npchar.{name}" for name in PACKAGES)]


def install(session: nox.Session, *arguments: str) -> None:
    """Install packages, also with --no-venv, because .ci/run uses its own environment."""
    session.run_install("python", "-m", "pip", "install", "-q", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, "-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check type annotations."""
    install(session, "-e", ".[lint]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the default suite; arguments after -- go to pytest."""
    install(session, "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests."""
    install(session, "-e", ".[test,run-notebooks]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def complete(session: nox.Session) -> None:
    """Run the default suite in random order, with all optional packages and SIGINT ignored."""
    install(session, "-e", ".[test,mpi,docs,run-notebooks]", "pytest-randomly")
    install(session, "torch==2.13.0", "onnx", "onnxruntime")  # for comparisons
    # SIGINT is ignored as in a background job of a script. One BLAS thread is set here, because
    # pytest-randomly imports NumPy before conftest.py sets it.
    ignoring = 'trap "" INT; exec pytest "$@"'
    session.run(
        *("bash", "-c", ignoring, "pytest", *session.posargs),
        env={"OPENBLAS_NUM_THREADS": "1"},
        external=True,
    )


@nox.session
def release(session: nox.Session) -> None:
    """Build the sdist and the wheel, and test them without a network."""
    session.run(".ci/release", external=True)


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """Run the default suite on the oldest Python with the oldest supported packages."""
    install(session, "-e", ".[test]", "numpy==1.25.*", "requests==2.28.*")
    session.run("pytest", *session.posargs)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the default suite on the newest Python with the newest packages."""
    install(session, "--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the branch coverage of the default suite."""
    install(session, "-e", ".[test]", "coverage[toml]>=7")
    session.run("coverage", "run", "-m", "pytest", "-n", "0", *session.posargs)  # one process
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the API reference and check it."""
    install(session, "-e", ".[test,docs]")
    session.run("pdoc", "-d", "numpy", "-o", "site", *DOCUMENTED)
    session.run("pytest", "-m", "slow", "tests/test_site.py")


@nox.session
def mutation(session: nox.Session) -> None:
    """Test random mutants of the numerical code: 500, or the number after --."""
    number = int(session.posargs[0]) if session.posargs else 500
    copy = f"{session.create_tmp()}/copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(".", copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    session.chdir(copy)
    install(session, "-e", ".[test]", "cosmic-ray>=8.4")
    configuration, database = "tests/mutation.toml", "mutants.sqlite"
    # Write the bytecode once, because the runs of the mutants do not write it.
    session.run("pytest", "--collect-only", "-qq", env={"PYTHONDONTWRITEBYTECODE": ""}, silent=True)
    session.run("cosmic-ray", "baseline", configuration)
    session.run("cosmic-ray", "init", configuration, database)
    with closing(sqlite3.connect(database)) as mutants, mutants:
        # Skip mutants of `|`, which occurs in type annotations.
        query = "SELECT job_id FROM mutation_specs WHERE operator_name NOT LIKE '%BitOr_%'"
        jobs = mutants.execute(f"{query} ORDER BY module_path, operator_name, occurrence")
        sample = random.Random(0).sample(jobs.fetchall(), number)
        mutants.execute("CREATE TEMPORARY TABLE sample (job_id)")
        mutants.executemany("INSERT INTO sample VALUES (?)", sample)
        for table in ("mutation_specs", "work_items"):
            mutants.execute(f"DELETE FROM {table} WHERE job_id NOT IN sample")
    session.run("cosmic-ray", "exec", configuration, database)
    session.run("cr-report", "--surviving-only", "--show-diff", database)
