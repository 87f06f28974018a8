"""What the commands answer: text for people, JSON for scripts, and the exit status.

Both ways in, ``pydsr realserver`` and the file that is copied to a backend, say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydsr.model.errors import ExitStatus, InputError
from pydsr.realserver import changing
from pydsr.realserver.checking import Finding, check
from pydsr.realserver.facts import read_facts
from pydsr.realserver.files import as_stream, files
from pydsr.realserver.planning import Plan, refuse_wrong_interfaces
from pydsr.realserver.record_file import DIRECTORY
from pydsr.realserver.values import Wish, parse_vip


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    Attributes:
        output: data, for stdout.
        messages: for people, for stderr.
        status: of the process.
    """

    output: str = ""
    messages: tuple[str, ...] = ()
    status: ExitStatus = ExitStatus.DONE


def setup(
    wish: Wish, plan_only: bool = False, as_json: bool = False, directory: Path = DIRECTORY
) -> Answer:
    """Set this host up, and look whether it is as wished then.

    Args:
        wish: what the host is to be.
        plan_only: whether to change nothing.
        as_json: whether to answer in JSON.
        directory: of the record of what is changed.

    Raises:
        PydsrError: it cannot be done; the host is as it was.
    """
    plan = changing.setup(wish, plan_only, directory)
    findings = [] if plan_only else check(wish, read_facts())
    return _changed(plan, plan_only, as_json, findings)


def undo(
    vips: Iterable[str],
    every: bool = False,
    plan_only: bool = False,
    as_json: bool = False,
    directory: Path = DIRECTORY,
) -> Answer:
    """Put back what setup has changed.

    Args:
        vips: of which.
        every: whether of all instead.
        plan_only: whether to change nothing.
        as_json: whether to answer in JSON.
        directory: of the record of what was changed.

    Raises:
        PydsrError: it cannot be done; it can be tried again.
    """
    leaving = tuple(dict.fromkeys(parse_vip(vip) for vip in vips))
    if bool(leaving) == every:
        raise InputError("undo takes VIPs, or --all", "`ip address show` lists addresses")
    plan = changing.undo(None if every else leaving, plan_only, directory)
    return _changed(plan, plan_only, as_json)


def checked(wish: Wish, as_json: bool = False) -> Answer:
    """Say what is not as wished on this host.

    Raises:
        PydsrError: it cannot be read, or no host can be as wished.
    """
    facts = read_facts()
    refuse_wrong_interfaces(wish, facts)
    findings = check(wish, facts)
    status = _status(findings)
    if as_json:
        document = {
            "vips": [str(vip) for vip in wish.vips],
            "as_desired": status is ExitStatus.DONE,
            "findings": [_finding_document(finding) for finding in findings],
        }
        return Answer(_json(document), status=status)
    lines = [_finding_text(finding) for finding in findings]
    if status is ExitStatus.DONE:
        lines.append(f"as it has to be for {', '.join(map(str, wish.vips))}\n")
    return Answer("".join(lines), status=status)


def scripted(
    wish: Wish, flavour: str, as_json: bool = False, directory: Path | None = None
) -> Answer:
    """Return files that keep a host set up over reboots.

    Args:
        wish: what the host is to be.
        flavour: of the files.
        as_json: whether to answer in JSON.
        directory: where to write them, as if it were the root directory; otherwise they are
            printed.

    Raises:
        InputError: there is no such flavour, or the files cannot be written.
    """
    made = files(wish, flavour)
    if directory is not None:
        for file in made:
            path = directory / file.path.lstrip("/")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(file.mode)
                path.write_text(file.text, encoding="utf-8")
                path.chmod(file.mode)
            except OSError as error:
                raise InputError(
                    f"{path} cannot be written: {error.strerror}", "name another --output"
                ) from None
        return Answer(messages=tuple(f"{directory / file.path.lstrip('/')}" for file in made))
    if as_json:
        return Answer(_json({"files": [asdict(file) for file in made]}))
    return Answer(as_stream(made))


def _changed(
    plan: Plan, plan_only: bool, as_json: bool, findings: Iterable[Finding] = ()
) -> Answer:
    findings = list(findings)
    commands = [step.command for step in plan.steps]
    status = _status(findings)
    if as_json:
        document = {
            "commands": commands,
            "notes": list(plan.notes),
            "findings": [_finding_document(finding) for finding in findings],
        }
        return Answer(_json(document), status=status)
    notes = [f"note: {note}" for note in plan.notes]
    notes += [_finding_text(finding).rstrip() for finding in findings]
    if not commands:
        notes.append("nothing to change")
    if plan_only:
        return Answer("".join(f"{command}\n" for command in commands), tuple(notes), status)
    return Answer(messages=(*commands, *notes), status=status)


def _status(findings: Iterable[Finding]) -> ExitStatus:
    is_missed = any(finding.is_miss for finding in findings)
    return ExitStatus.NOT_AS_DESIRED if is_missed else ExitStatus.DONE


def _finding_text(finding: Finding) -> str:
    kind = "miss" if finding.is_miss else "warning"
    commands = "".join(f"    {command}\n" for command in finding.commands)
    return f"{kind}: {finding.subject}: {finding.what}\n  {finding.why}\n{commands}"


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "level": "miss" if finding.is_miss else "warning",
        "subject": finding.subject,
        "what": finding.what,
        "why": finding.why,
        "commands": list(finding.commands),
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2) + "\n"
