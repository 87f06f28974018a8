"""The C sources: every header stands alone, and the benchmarks compile with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.steps import STEPS
from pydsr.kernel.bpf import program
from pydsr.kernel.bpf.maps import map_specs
from pydsr.model.errors import InternalError
from pydsr.model.features import Feature
from pydsr.model.sources import xdp_directory
from tests.support.packets.data_plane import EVERY_FEATURE
from tests.support.paths import CHECKOUT

TAP_MAPS = ("tap_program", "tap_ring", "tap_lost", "tap_scratch")
BENCH_MAPS = ("plan", "under_test", "load", "arrived")
FLOOR_MAPS = ("floor_services", "floor_slots", "floor_macs", "floor_packets", "floor_backends")
MAPS = (*(spec.name for spec in map_specs()), *TAP_MAPS, *BENCH_MAPS, *FLOOR_MAPS)
DEFINITIONS = [
    "-Werror",
    f"-I{xdp_directory()}",
    "-DPYDSR_TABLE_SIZE=251",
    "-DPYDSR_SEED=0x1",
    "-DPYDSR_SEED_IPV4=0x2",
    "-DPYDSR_TAP_EVERY=2",
    "-DPYDSR_TAP_REASONS=1ULL",
    *(f"-DPYDSR_FD_{name}={number}" for number, name in enumerate(MAPS, 100)),
]
# reasons.h is a list of macro calls, for others to include.
HEADERS = sorted({path.name for path in xdp_directory().glob("*.h")} - {"reasons.h"})


@pytest.mark.parametrize("features", [Feature(0), EVERY_FEATURE], ids=["no-feature", "every"])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_alone(header: str, features: Feature, tmp_path: Path) -> None:
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\nint alone(void *context) {{ return 0; }}\n')
    flags = [f"-DPYDSR_WITH_{feature.name}" for feature in Feature if feature in features]
    assert program.compile_source(source, [*DEFINITIONS, *flags]).keys() == {"alone"}


@pytest.mark.parametrize("name", ["forwarder", "generator", "steps", "swap", "wrapper"])
def test_a_benchmark_compiles(name: str) -> None:
    functions = program.compile_source(CHECKOUT / "bench" / f"{name}.c", DEFINITIONS).keys()
    assert functions
    if name == "steps":
        assert {step for step in STEPS if step.startswith("step_")} <= functions


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("REASON(24, ", "REASON(23, ", "without gaps or duplicates"),
        ("REASON(24, ", "REASON(25, ", "without gaps or duplicates"),
        ("REASON(3, FORWARDED_CURRENT, TX", "REASON(3, FORWARDED_CURRENT, DROP", "verdict TX"),
    ],
)
def test_a_wrong_number_does_not_compile(
    old: str, new: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("bpf.h", "verdicts.h", "reasons.h"):
        text = (xdp_directory() / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new))
    source = tmp_path / "source.c"
    source.write_text('#include "verdicts.h"\n')
    with pytest.raises(InternalError):
        program.compile_source(source, [])
    assert message in capfd.readouterr().err
