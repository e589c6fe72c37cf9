"""A new library, ready to build: its crate, its binding, its Python package and its recipe.

What is made comes from the files in templates/, which are the smallest common shape of the
repository's libraries. In them `__NAME__` stands for the new name; the other placeholders are
values that the workspace has already, read when a package is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unicodedata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from labchannel.cache import exclusive
from labchannel.errors import LabchannelError
from labchannel.workspace import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from labchannel.workspace import Workspace

LONGEST_NAME = 40
"""Lines that hold the name stay within the formatters' 100 columns up to this length."""

SUFFIXES = {"_py": "bindings", "_server": "servers", "_cli": "commands"}
"""What the last word of a crate's name says that it is."""

UPDATE_LOCK = ("cargo", "update", "--workspace")
"""Brings Cargo.lock up to date with the workspace's own crates, and changes no other's version."""

_TEMPLATE = ".template"
_LIKE = "Use lower-case letters, digits and single underscores, like gauge_demo"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# The Rust Reference, "Keywords": strict, reserved and weak ones, up to edition 2024.
_RUST_KEYWORDS = (
    "abstract as async await become box break const continue crate do dyn else enum extern false "
    "final fn for gen if impl in let loop macro macro_rules match mod move mut override priv pub "
    "raw ref return safe self static struct super trait true try type typeof union unsafe unsized "
    "use virtual where while yield"
)
# `cargo new` refuses these: crates of the compiler, and folders of its own in target/.
_CARGO_NAMES = frozenset(
    ["alloc", "build", "core", "deps", "examples", "incremental", "proc_macro", "std", "test"]
)
# "Naming Files, Paths, and Namespaces" of the Windows documentation: no folder can be called so.
_WINDOWS_NAMES = frozenset(
    ["aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)

_OWN_CRATE = re.compile(r"""(\w+)\s*=\s*\{\s*path\s*=\s*["']crates/""")


def new_package(workspace: Workspace, name: str) -> list[str]:
    """Add a library that builds, tests and publishes; all of it, or on an error nothing.

    Outside the new folders one line changes, in Cargo.toml, and cargo brings Cargo.lock up to date.

    Parameters
    ----------
    workspace
        The checkout.
    name
        In snake_case: the conda package, the Python import and the core crate are all called so.

    Returns
    -------
    list of str
        The files made and changed, relative to the checkout; and where cargo could not update
        Cargo.lock a last line with the reason and the command.

    Raises
    ------
    LabchannelError
        The name can't be used, or is taken; a file can't be read or written.
    """
    _refuse_unusable(name)
    checkout = hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]
    with exclusive(f"new-package-{checkout}", "adding a package"):
        _refuse_taken(workspace, name)
        try:
            return _make(workspace, name)
        except OSError as error:
            raise LabchannelError(
                f"{name} can't be made: {error.filename or workspace.root} can't be written "
                f"({error.strerror or error}); nothing was changed",
                "Free space or mend its permissions, then start again",
            ) from error


def _refuse_unusable(name: str) -> None:
    """Raise for a name that Rust, Python, Windows or the layout has no room for."""
    if not name:
        raise LabchannelError("the name is empty", _LIKE)
    fault = _fault(name)
    if fault:
        proposal = _proposal(name)
        mend = f"Use {proposal}" if proposal and not _fault(proposal) else _LIKE
        raise LabchannelError(f"{name!r} can't be the name: {fault}", mend)


def _fault(name: str) -> str:
    """What is wrong with the name itself; empty for nothing."""
    if not _NAME.fullmatch(name):
        return _spelling_fault(name)
    if len(name) > LONGEST_NAME:
        return f"it has {len(name)} characters, and at most {LONGEST_NAME} are allowed"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a keyword of Python"
    if name in _RUST_KEYWORDS.split():
        return "it is a keyword of Rust"
    if name in sys.stdlib_module_names:
        return "it would hide that module of Python's standard library"
    if name in _CARGO_NAMES:
        return "cargo keeps it for itself"
    if name in _WINDOWS_NAMES:
        return "Windows keeps it for a device"
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return f"crates that end in {suffix} are the {kind} of others"
    return ""


def _spelling_fault(name: str) -> str:
    wrong = re.search(r"[^A-Za-z0-9_-]", name)
    if wrong:
        return f"it has the character {wrong[0]!r}"
    if "-" in name:
        return "a hyphen can't be in a Python import"
    if name != name.lower():
        return "PEP 8 wants modules in lower case"
    if name[0].isdigit():
        return "it begins with a digit"
    return "PEP 8 wants underscores between words only, one at a time"


def _proposal(name: str) -> str:
    """The nearest name in snake_case; it may be no better."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_").lstrip("0123456789_")


def _refuse_taken(workspace: Workspace, name: str) -> None:
    """Raise when a folder or a package of that name is there, so that nothing is overwritten."""
    for folder in _folders(name):
        if os.path.lexists(workspace.root / folder):
            raise LabchannelError(
                f"the name {name} is taken: {folder} is there already",
                "Choose another name, or remove that folder if nothing needs it",
            )
    for file, names in _dependencies(workspace):
        if name in {other.replace("-", "_").lower() for other in names}:
            raise LabchannelError(
                f"the name {name} is taken: {file} names another package that is called so",
                "Choose another name",
            )


def _folders(name: str) -> tuple[str, ...]:
    """The new folders. In this order, and after Cargo.toml's line, cargo can read every state."""
    return f"crates/{name}", f"crates/{name}_py", f"python/{name}", f"recipes/{name}"


def _dependencies(workspace: Workspace) -> Iterator[tuple[str, list[str]]]:
    """The names of all packages that the workspace depends on, by file."""
    yield "Cargo.toml", list(workspace.cargo()["workspace"].get("dependencies", {}))
    lock = workspace.root / "Cargo.lock"
    if lock.is_file():
        packages = read_toml(lock).get("package", [])
        # One without a source is a crate of the workspace itself: its folder decides.
        yield lock.name, [package["name"] for package in packages if "source" in package]
    manifest = read_toml(workspace.manifest)
    nested = [*manifest.get("target", {}).values(), *manifest.get("feature", {}).values()]
    tables = [table.get("dependencies", {}) for table in (manifest, *nested)]
    yield workspace.manifest.name, [name for table in tables for name in table]


def _make(workspace: Workspace, name: str) -> list[str]:
    """Write everything beside the checkout's files first, then move it into place or back out."""
    root = workspace.root
    made = _rendered(name, _values(workspace, name)) | _licences(workspace, name)
    manifest, lock = root / "Cargo.toml", root / "Cargo.lock"
    with (
        tempfile.TemporaryDirectory(
            prefix=".new-package-", dir=root, ignore_cleanup_errors=True
        ) as scratch,
        contextlib.ExitStack() as undo,
    ):
        staged = Path(scratch)
        for path, text in made.items():
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).write_bytes(text.encode())
        for file in (manifest, lock):
            if file.is_file():
                # Copied before anything changes, so that no full disk can stop the way back.
                kept = shutil.copy2(file, staged / f"{file.name}.kept")
                undo.callback(os.replace, kept, file)
            else:
                undo.callback(file.unlink, missing_ok=True)
        changed = Path(shutil.copy2(manifest, staged / manifest.name))
        changed.write_bytes(_with_crate(manifest.read_bytes().decode(), name).encode())
        changed.replace(manifest)
        for folder in _folders(name):
            (root / folder).parent.mkdir(exist_ok=True)
            (staged / folder).rename(root / folder)
            undo.callback(shutil.rmtree, root / folder)
        trouble = _update_lock(root)
        undo.pop_all()
    last = [lock.name] if not trouble else [trouble]
    return [*made, manifest.name, *last]


def _values(workspace: Workspace, name: str) -> dict[str, str]:
    """From each placeholder to what stands there."""
    python_min = _python_min(workspace)
    maturin = read_toml(workspace.manifest).get("dependencies", {}).get("maturin")
    if maturin is None:
        raise LabchannelError(
            f"{workspace.manifest} does not say which maturin builds the packages",
            'Add it to [dependencies], like maturin = ">=1.9.4,<2"',
        )
    return {
        "__NAME__": name,
        "__VERSION__": workspace.version,
        "__PYTHON_MIN__": python_min,
        "__PYTHON_TAG__": "py" + python_min.replace(".", ""),
        "__MATURIN__": maturin,
    }


def _python_min(workspace: Workspace) -> str:
    """The oldest Python that the recipes build for."""
    try:
        (value,) = yaml.safe_load(workspace.variants.read_text(encoding="utf-8"))["python_min"]
    except FileNotFoundError:
        raise LabchannelError(
            f"{workspace.variants} is missing", "Restore it from version control: git checkout"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise LabchannelError(
            f"{workspace.variants} does not give python_min one value",
            'Write it as a list of one version in quotes, like - "3.12"',
        ) from error
    return str(value)


def _rendered(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """From the path of each new file, relative to the checkout, to its text."""
    made = {}
    for path, template in _templates(files("labchannel") / "templates", ""):
        text = template.read_text(encoding="utf-8")
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        made[path.removesuffix(_TEMPLATE).replace("__NAME__", name)] = text
    return made


def _licences(workspace: Workspace, name: str) -> dict[str, str]:
    """Copies of the checkout's licences: a distribution carries none from above its own folder."""
    licences = sorted(workspace.root.glob("LICENSE-*"))
    if not licences:
        raise LabchannelError(
            f"{workspace.root} has no LICENSE-* that the package could carry",
            "Restore them from version control: git checkout",
        )
    return {f"python/{name}/{path.name}": path.read_text(encoding="utf-8") for path in licences}


def _templates(folder: Traversable, where: str) -> Iterator[tuple[str, Traversable]]:
    """Every template, with its path; another file there (an editor's, say) is none."""
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            yield from _templates(entry, f"{where}{entry.name}/")
        elif entry.name.endswith(_TEMPLATE):
            yield f"{where}{entry.name}", entry


def _with_crate(text: str, name: str) -> str:
    """The root Cargo.toml with one more line: the crate, in its sorted place among our own.

    Written as text, so that every comment and every other line stay as they are; that the result
    says this and nothing else is checked by parsing both.
    """
    lines = text.splitlines(keepends=True)
    where = _place(lines, name)
    if where is not None:
        ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
        if not lines[where - 1].endswith("\n"):  # the last line of the file
            lines[where - 1] += ending
        lines.insert(where, f'{name} = {{ path = "crates/{name}" }}{ending}')
    changed = "".join(lines)
    wanted: dict[str, Any] = tomllib.loads(text)
    wanted["workspace"].setdefault("dependencies", {})[name] = {"path": f"crates/{name}"}
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(changed) == wanted:
            return changed
    raise LabchannelError(
        "Cargo.toml has no place for the line of a new crate",
        "Give it a table [workspace.dependencies], with one line for each crate under crates/",
    )


def _place(lines: list[str], name: str) -> int | None:
    """The index where the line belongs; None without a table to put it in."""
    header = next((n for n, line in enumerate(lines) if _is_header(line)), None)
    if header is None:
        return None
    last = None
    for n, line in enumerate(lines[header + 1 :], header + 1):
        if line.startswith("["):
            break
        own = _OWN_CRATE.match(line)
        if own and own[1] > name:
            return n
        if own:
            last = n
    return (header if last is None else last) + 1


def _is_header(line: str) -> bool:
    return line.split("#")[0].strip() == "[workspace.dependencies]"


def _update_lock(root: Path) -> str:
    """Let cargo add the new crates to Cargo.lock; returns what to tell the user if it can't."""
    cargo = shutil.which(UPDATE_LOCK[0])
    reason = "there is no cargo on PATH"
    if cargo is not None:
        # Offline first: the new crates depend on what is locked already.
        for options in (["--offline"], []):
            done = subprocess.run(
                [cargo, *UPDATE_LOCK[1:], "--quiet", *options],
                check=False,
                cwd=root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
            if done.returncode == 0:
                return ""
        reason = " ".join(done.stderr.split()) or f"cargo ended with {done.returncode}"
    return f"Cargo.lock is not up to date ({reason}). Run: {' '.join(UPDATE_LOCK)}"
