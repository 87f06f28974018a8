"""Every option that is declared works everywhere: command line, file, maps, documents, table."""

from __future__ import annotations

import io
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

import click
import pytest
from rich.console import Console

from pydsr.cli.services import services as services_group
from pydsr.config.export import write_text
from pydsr.config.load import load_text
from pydsr.config.schema import json_schema
from pydsr.kernel.bpf.codec import pack_config, unpack_options
from pydsr.model.addresses import Endpoint
from pydsr.model.change import option_changes
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import InputError
from pydsr.model.options import OPTIONS, Affinity, Option, ServiceOptions
from pydsr.model.service import Service
from pydsr.views.json.documents import services_document
from pydsr.views.json.schemas import document_schema
from pydsr.views.text.tables import services_table

WEB = Endpoint(ip_address("198.51.100.10"), 80)

every_option = pytest.mark.parametrize("option", OPTIONS, ids=[one.name for one in OPTIONS])


def other_value(option: Option) -> Any:
    """Return a value that the option may have and that is not its default."""
    if option.type is bool:
        return not option.default
    if option.type is str:
        return "web"
    if option.type is int:
        assert option.limits
        return next(value for value in (option.limits[0] + 1, 7) if value != option.default)
    assert issubclass(option.type, StrEnum)
    return list(option.type)[-1]


def options_with(option: Option) -> ServiceOptions:
    """Return options with another value of one option, and of what it depends on."""
    values: dict[str, Any] = {"affinity": Affinity.SOURCE} if option.rehashes else {}
    return ServiceOptions(**values | {option.name: other_value(option)})


@every_option
def test_the_map_holds_it(option: Option) -> None:
    options = options_with(option)
    assert options == unpack_options(pack_config(Service(7, WEB, options)), WEB.protocol)


@every_option
def test_a_file_says_it(option: Option) -> None:
    state = DesiredState(services=(DesiredService(WEB, options_with(option)),))
    text = write_text(state)
    assert f"  {option.key}: " in text
    assert state == load_text("f", text)


@every_option
def test_editors_and_manual_pages_describe_it(option: Option) -> None:
    described = json_schema()["$defs"]["ServiceShape"]["properties"][option.key]["description"]
    assert option.help in described


@every_option
def test_the_command_line_has_it(option: Option) -> None:
    add = services_group.get_command(click.Context(services_group), "add")
    assert add
    arguments = [str(WEB), f"--{option.flag}"]
    if option.type is not bool:
        arguments.append(str(other_value(option)))
    values = add.make_context("add", arguments).params
    given = {one.name: values[one.name] for one in OPTIONS}
    defaults = {one.name: one.default for one in OPTIONS}
    assert defaults | {option.name: other_value(option)} == given


@every_option
def test_the_document_shows_it_and_its_schema_describes_it(option: Option) -> None:
    options = options_with(option)
    (document,) = services_document([Service(7, WEB, options)])
    assert document[option.name] == getattr(options, option.name)
    described = document_schema("services")["$defs"]["ServiceDocument"]["properties"][option.name]
    assert option.help in described["description"]


@every_option
def test_the_table_shows_it(option: Option) -> None:
    options = options_with(option)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(services_table([Service(7, WEB, options)]))
    text = console.export_text()
    shown = option.flag if option.type is bool else str(getattr(options, option.name))
    assert shown in text or option.name == "netmask6"  # that of the endpoint's family is shown


@every_option
def test_a_plan_names_its_change(option: Option) -> None:
    changes = option_changes(WEB, ServiceOptions(), options_with(option))
    assert f"set {option.key}" in [change.action for change in changes]


@pytest.mark.parametrize("option", [one for one in OPTIONS if one.limits], ids=str)
@pytest.mark.parametrize("side", [0, 1])
def test_a_number_out_of_its_limits_is_refused(option: Option, side: int) -> None:
    assert option.limits
    value = option.limits[side] + (1 if side else -1)
    values: dict[str, Any] = {"affinity": Affinity.SOURCE, option.name: value}
    with pytest.raises(InputError, match=f"{option.key} {value} is out of range"):
        ServiceOptions(**values)
