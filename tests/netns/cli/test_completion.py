"""Tab completes commands to what the live maps have, in real shells."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydsr.kernel.bpf.python_process import environment
from tests.support.netns.command import AS_NOBODY, Pydsr
from tests.support.netns.namespaces import BACKENDS
from tests.support.netns.shells import SHELLS, Shell, shell

WEB, WEB6, DNS = "10.66.0.80:80/tcp", "[fd66::80]:80/tcp", "10.66.0.80:53/udp"


@pytest.fixture(scope="module")
def balancer(lasting: tuple[Pydsr, object]) -> Pydsr:
    """A balancer with three services."""
    pydsr, _ = lasting
    pydsr.ok("backends", "set", WEB, BACKENDS[0], BACKENDS[1])
    pydsr.ok("backends", "set", WEB6, BACKENDS[3])
    pydsr.ok("services", "add", DNS, "--name", "names: all of them")
    return pydsr


@pytest.fixture(scope="module", params=list(SHELLS))
def at_shell(
    request: pytest.FixtureRequest, balancer: Pydsr, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """An interactive shell of each kind."""
    with shell(request.param, balancer, tmp_path_factory.mktemp("home")) as started:
        yield started


LINES = {
    "a command": ("pydsr back", "pydsr backends"),
    "an option": ("pydsr stats --wa", "pydsr stats --watch"),
    "a service by its port": ("pydsr backends drain 10.66.0.80:8", f"pydsr backends drain {WEB}"),
    "a service with a name": ("pydsr services remove 10.66.0.80:5", f"pydsr services remove {DNS}"),
    "an IPv6 service": ("pydsr services remove '[fd66::80]", f"pydsr services remove {WEB6}"),
    "an IPv6 service without quotes": (
        "pydsr services remove [fd66::80]:8",
        f"pydsr services remove {WEB6}",
    ),
    "a backend of the service": (
        f"pydsr backends drain {WEB} {BACKENDS[0]} 10.66",
        f"pydsr backends drain {WEB} {BACKENDS[0]} {BACKENDS[1]}",
    ),
    "an IPv6 backend": (
        "pydsr backends add 10.66.0.80:80 fd66:",
        f"pydsr backends add 10.66.0.80:80 {BACKENDS[3]}",
    ),
    "a virtual IP": ("pydsr vips set fd", "pydsr vips set fd66::80"),
    "an interface": ("pydsr attach et", "pydsr attach eth0"),
    "a file": ("pydsr apply /etc/host.con", "pydsr apply /etc/host.conf"),
    "nothing": ("pydsr services remove 192.0.2.", "pydsr services remove 192.0.2."),
}


@pytest.mark.parametrize(("typed", "completed"), list(LINES.values()), ids=list(LINES))
def test_a_tab_completes(at_shell: Shell, typed: str, completed: str) -> None:
    """The words that the shell would run are whole, whatever it takes colons for."""
    assert at_shell.complete(typed).replace("'", "") == completed


def answers(pydsr: Pydsr, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Ask for completions as bash does."""
    asking = {"_PYDSR_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_WORDBREAKS": ":="}
    return subprocess.run(
        [*pydsr.host.prefix, *pydsr.wrapper, *pydsr.command()[len(pydsr.wrapper) :]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment() | {"PYDSR_BPFFS": str(pydsr.bpffs)} | asking | variables,
    )


@pytest.mark.parametrize("bpffs", ["/sys/fs/bpf/nothing-here", "/nowhere", "with.dots", "\n"])
def test_where_there_is_no_balancer_a_tab_says_nothing(balancer: Pydsr, bpffs: str) -> None:
    done = answers(balancer, "pydsr services remove ", PYDSR_BPFFS=bpffs)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_without_privilege_a_tab_says_nothing(balancer: Pydsr) -> None:
    nobody = Pydsr(balancer.host, balancer.bpffs, AS_NOBODY)
    done = answers(nobody, "pydsr backends drain 10.66.0.80:80 ")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("instruction", ["bash_nothing", "csh_complete", "zsh_complete"])
def test_a_shell_that_asks_nonsense_gets_nothing(balancer: Pydsr, instruction: str) -> None:
    done = answers(balancer, "pydsr ", _PYDSR_COMPLETE=instruction)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_directory_of_pins_is_asked_where_the_line_names_it(balancer: Pydsr) -> None:
    line = f"pydsr --bpffs {balancer.bpffs} backends list 10.66.0.80:8"
    done = answers(balancer, line, PYDSR_BPFFS="/nowhere")
    assert "plain,80/tcp\n" == done.stdout


def test_the_scripts_are_what_their_shells_take(tmp_path: Path, balancer: Pydsr) -> None:
    for name, check in (("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")):
        script = tmp_path / name
        script.write_text(balancer.ok("completion", name))
        done = subprocess.run([name, check, script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
