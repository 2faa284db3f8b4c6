"""Runs Apache Kafka's Java: its tools, and the programs of this folder compiled against it."""

import functools
import os
import pathlib
import subprocess
import tempfile
import threading

from brokers import REPO, SUPPORT

LOGGING = f"-Dlog4j2.configurationFile={SUPPORT / 'java' / 'log4j2.xml'}"


@functools.cache
def class_path(part="java"):
    """Of Kafka's clients, tools and broker, or of another part of the environment."""
    done = subprocess.run([SUPPORT / "environment", part], check=True, capture_output=True,
                          text=True)
    return pathlib.Path(done.stdout.strip()) / "lib" / "*"


def java(main_class, *arguments, extra_path=None, seconds=120):
    """The finished process; its exit code is the caller's to judge."""
    path = f"{extra_path}{os.pathsep}{class_path()}" if extra_path else str(class_path())
    return subprocess.run(["java", "-Xmx512m", LOGGING, "-cp", path, main_class,
                           *map(str, arguments)],
                          capture_output=True, text=True, timeout=seconds)


COMPILING = threading.Lock()


@functools.cache
def _compiled(source, part):
    classes = REPO / "target" / "test-env" / "classes" / source.stem
    classes.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=classes.parent) as fresh:
        subprocess.run(["javac", "-Xlint:all", "-Werror", "-proc:none", "-cp",
                        str(class_path(part)), "-d", fresh, source], check=True)
        for made in pathlib.Path(fresh).iterdir():
            # In one step: another run's process may be loading it.
            made.replace(classes / made.name)
    return classes


def compiled(source, part="java"):
    """Compiles one source file, once; the folder of its classes."""
    with COMPILING:
        return _compiled(source, part)
