"""The commands setup, check and undo, and their output.

``pydsr realserver`` and the file that is copied to a backend both run these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydsr.model.errors import ExitStatus, InputError, PydsrError
from pydsr.realserver.check import Fault, check
from pydsr.realserver.files import File, as_stream, files
from pydsr.realserver.host import execute, read_facts
from pydsr.realserver.plan import Plan, plan_setup, plan_undo, refuse_wrong_interfaces
from pydsr.realserver.record import DIRECTORY, RecordFile
from pydsr.realserver.values import Address, BackendSpec, parse_vip

HELP = {
    "realserver": "Set up and check a backend, on the backend itself.",
    "setup": "Make this host accept packets for VIPs, unannounced.",
    "check": "Report what keeps this host from being a backend, and fixes.",
    "undo": "Undo what setup has changed, and nothing else.",
    "VIP": "A virtual IP, without a prefix length.",
    "--device": "The device for the VIPs: lo, or a dummy, which setup creates if it is missing.",
    "--interface": "The interface that the balancer's packets come in by, on a host with several. "
    "If its rp_filter would drop them, setup loosens it. May be given several times.",
    "--script": "Change nothing; print files that do the same at every boot.",
    "--output": "With --script: write the files below this directory instead, as if it were /.",
    "--all": "Undo everything that was set up.",
    "--plan": "Print what would change; change nothing.",
    "--record-directory": "Where setup records what it has changed.",
    "--json": "Print JSON.",
}
"""The help of each command, argument and option."""


@dataclass(frozen=True)
class Answer:
    """The text of a command for stdout (``output``) and stderr, and its exit status."""

    output: str = ""
    messages: tuple[str, ...] = ()
    status: ExitStatus = ExitStatus.DONE


def setup(
    spec: BackendSpec, plan_only: bool = False, as_json: bool = False, directory: Path = DIRECTORY
) -> Answer:
    """Set this host up, and check it. If it fails, the host is as it was."""
    file = RecordFile(directory)
    if plan_only:
        return _change_answer(plan_setup(spec, read_facts(), file.load()), plan_only, as_json)
    with file.locked():
        before = file.load()
        plan = plan_setup(spec, read_facts(), before)
        file.save(plan.record)
        try:
            execute(plan.steps)
        except PydsrError:
            _undo([vip for vip in spec.vips if vip not in before.vips], file)
            raise
    return _change_answer(plan, plan_only, as_json, check(spec, read_facts()))


def undo(
    vips: Iterable[str],
    every: bool = False,
    plan_only: bool = False,
    as_json: bool = False,
    directory: Path = DIRECTORY,
) -> Answer:
    """Undo what setup has changed for some VIPs or all. If it fails, try it again."""
    leaving = tuple(dict.fromkeys(parse_vip(vip) for vip in vips))
    if bool(leaving) == every:
        raise InputError("undo takes VIPs, or --all", "`ip address show` lists addresses")
    file = RecordFile(directory)
    if plan_only:
        return _change_answer(_plan_undo(None if every else leaving, file), plan_only, as_json)
    with file.locked():
        plan = _undo(None if every else leaving, file)
    return _change_answer(plan, plan_only, as_json)


def check_host(spec: BackendSpec, as_json: bool = False) -> Answer:
    """Report the faults of this host."""
    facts = read_facts()
    refuse_wrong_interfaces(spec, facts)
    faults = check(spec, facts)
    status = _status(faults)
    if as_json:
        document = {
            "vips": [str(vip) for vip in spec.vips],
            "as_desired": status is ExitStatus.DONE,
            "findings": [_fault_document(fault) for fault in faults],
        }
        return Answer(_json(document), status=status)
    lines = [_fault_text(fault) for fault in faults]
    if status is ExitStatus.DONE:
        lines.append(f"this host is set up for {', '.join(map(str, spec.vips))}\n")
    return Answer("".join(lines), status=status)


def make_files(
    spec: BackendSpec, flavour: str, as_json: bool = False, directory: Path | None = None
) -> Answer:
    """Print files that keep a backend set up across reboots, or write them below a directory."""
    generated = files(spec, flavour)
    if directory is not None:
        return Answer(messages=tuple(str(_write(file, directory)) for file in generated))
    if as_json:
        return Answer(_json({"files": [asdict(file) for file in generated]}))
    return Answer(as_stream(generated))


def _write(file: File, directory: Path) -> Path:
    path = directory / file.path.lstrip("/")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _make_folder(path.parent)
        path.touch(file.mode)
        path.write_text(file.text, encoding="utf-8")
        path.chmod(file.mode)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", "choose another --output"
        ) from None
    return path


def _make_folder(folder: Path) -> None:
    """Create a folder that everyone can read, whatever the umask: services read these files."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)


def _undo(vips: Iterable[Address] | None, file: RecordFile) -> Plan:
    plan = _plan_undo(vips, file)
    execute(plan.steps)
    file.save(plan.record)
    return plan


def _plan_undo(vips: Iterable[Address] | None, file: RecordFile) -> Plan:
    record = file.load()
    return plan_undo(record.vips if vips is None else vips, read_facts(), record)


def _change_answer(
    plan: Plan, plan_only: bool, as_json: bool, faults: Iterable[Fault] = ()
) -> Answer:
    faults = list(faults)
    commands = [step.command for step in plan.steps]
    status = _status(faults)
    if as_json:
        document = {
            "commands": commands,
            "notes": list(plan.notes),
            "findings": [_fault_document(fault) for fault in faults],
        }
        return Answer(_json(document), status=status)
    notes = [f"note: {note}" for note in plan.notes]
    notes += [_fault_text(fault).rstrip() for fault in faults]
    if not commands:
        notes.append("nothing to change")
    if plan_only:
        return Answer("".join(f"{command}\n" for command in commands), tuple(notes), status)
    return Answer(messages=(*commands, *notes), status=status)


def _status(faults: Iterable[Fault]) -> ExitStatus:
    is_missed = any(fault.is_miss for fault in faults)
    return ExitStatus.NOT_AS_DESIRED if is_missed else ExitStatus.DONE


def _level(fault: Fault) -> str:
    return "miss" if fault.is_miss else "warning"


def _fault_text(fault: Fault) -> str:
    commands = "".join(f"    {command}\n" for command in fault.commands)
    return f"{_level(fault)}: {fault.subject}: {fault.what}\n  {fault.why}\n{commands}"


def _fault_document(fault: Fault) -> dict[str, Any]:
    return {
        "level": _level(fault),
        "subject": fault.subject,
        "what": fault.what,
        "why": fault.why,
        "commands": list(fault.commands),
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"
