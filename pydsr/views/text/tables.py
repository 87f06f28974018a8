"""Tables for people; scripts use ``--json``.

Cells are ``Text``: rich reads a plain string as markup, and would swallow the brackets of
``[fd00::1]:80``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from pydsr.model.addresses import Endpoint, Tag, format_tags
from pydsr.model.change import Impact
from pydsr.model.features import FeatureUse, names
from pydsr.model.options import OPTIONS, Affinity, ServiceOptions
from pydsr.model.rates import BackendRate, ServiceRate, rates_between
from pydsr.model.reasons import Reason
from pydsr.model.service import Service
from pydsr.model.snapshot import Snapshot
from pydsr.model.source_rules import Action, Rules, scope_name, sort_key
from pydsr.views.json.documents import slot_share
from pydsr.views.text import figures

if TYPE_CHECKING:
    from pydsr.control.attached_interfaces import Attached
    from pydsr.control.balancer import Vip

VERDICT_STYLES = {"tx": "green", "redirect": "green", "pass": "yellow", "drop": "red"}
_MODE_STYLES = {"native": "green", "generic": "yellow"}
_ACTION_STYLES = {"add": "green", "remove": "red"}

LARGE_TABLE_ROWS = 1000
"""From this size on, tables are plain: rich would take seconds to lay them out."""

_GAP = "  "


def status_table(
    interfaces: Sequence[Attached],
    services: int,
    backends: int,
    layout_version: int,
    features: FeatureUse,
) -> RenderableType:
    """Show attached interfaces, numbers of services and backends, and the program's features."""
    table = new_table(["interface", "mode"], ["program"])
    for each in interfaces:
        mode = Text(each.mode, style=_MODE_STYLES.get(each.mode, ""))
        table.add_row(Text(each.name), mode, Text(str(each.program_id)))
    return Group(
        table if interfaces else Text("no interface attached", style="yellow"),
        Text(""),
        Text(
            f"{_plural(services, 'service')}, {_plural(backends, 'backend')}, "
            f"layout version {layout_version}"
        ),
        *_feature_lines(features),
    )


def _feature_lines(features: FeatureUse) -> Iterable[Text]:
    yield Text(f"features: {', '.join(names(features.compiled)) or 'none'}")
    if features.unused:
        unused = ", ".join(names(features.unused))
        yield Text(f"no longer used: {unused}; the next attach leaves them out", style="dim")
    if features.excluded:
        yield Text(f"left out by --without: {', '.join(names(features.excluded))}", style="yellow")


_OPTION_COLUMNS = {"name", "affinity", "netmask4", "netmask6", "learn"}


def services_table(services: Sequence[Service]) -> RenderableType:
    """Show one service a row, with its options."""
    if not services:
        return Text("no services", style="dim")
    table = new_table(["service", "name", "affinity"], ["backends", "learn"], ["options"])
    for service in services:
        options = service.options
        table.add_row(
            Text(str(service.endpoint), style="bold"),
            Text(options.name),
            Text(_affinity(service)),
            Text(str(len(service.backends))),
            Text(f"{service.learn_seconds} s"),
            Text(" ".join(_other_options(options))),
        )
    return table


def _other_options(options: ServiceOptions) -> Iterable[str]:
    """Yield the options without a column that differ from their defaults."""
    for option in OPTIONS:
        value = getattr(options, option.name)
        if option.name not in _OPTION_COLUMNS and value != option.default:
            yield option.flag if option.type is bool else f"{option.flag}={value}"


def backends_table(
    services: Sequence[Service], interface_names: Mapping[int, str]
) -> RenderableType:
    """Show the backends of services, with the names of interfaces by their index."""
    if not services:
        return Text("no services", style="dim")
    table = new_table(["service / backend"], ["weight", "share"], ["state", "mac", "interface"])
    for service in services:
        table.add_row(_title(service))
        if not service.backends:
            table.add_row(Text("  no backends", style="dim"))
        for backend in service.backends:
            table.add_row(
                Text(f"  {backend.address}"),
                Text(str(backend.weight)),
                Text(figures.percent(slot_share(service, backend))),
                Text.assemble(*figures.state(backend)),
                Text.assemble(*figures.mac(backend)),
                Text(segment(interface_names.get(backend.ifindex), backend.tags)),
            )
    return table


def stats_table(snapshot: Snapshot, before: Snapshot | None = None) -> RenderableType:
    """Show totals of services, backends and reasons, and rates since an earlier snapshot."""
    rates = rates_between(before, snapshot)
    has_rates = before is not None
    # These two columns are shown only while slots change.
    changing = any(service.slots_changing for service in snapshot.services)
    headings = ["packets", "bytes", "new flows"] + ["pkt/s", "bit/s", "new/s"] * has_rates
    headings += ["slots changing", "flows recorded"] * changing
    services = new_table(["service / backend"], headings)
    for service in rates.services:
        records = snapshot.records.get(service.service.id, 0)
        state = [Text(str(service.service.slots_changing)), Text(str(records))]
        figures_ = [*_figures(service, has_rates), *(state if changing else ())]
        services.add_row(_title(service.service), *figures_)
        for each in service.backends:
            services.add_row(Text(f"  {each.backend.address}"), *_figures(each, has_rates))
    verdicts = new_table(["reason"], ["packets"] + ["pkt/s"] * has_rates)
    for verdict in rates.verdicts:
        if verdict.total:
            cells = [verdict.reason, str(verdict.total)]
            cells += [figures.count(verdict.packets)] * has_rates
            verdicts.add_row(*map(Text, cells))
    return Group(
        services if rates.services else Text("no services", style="dim"),
        Text(""),
        verdicts if verdicts.row_count else Text("no packets counted", style="dim"),
    )


def plan_table(impact: Impact) -> RenderableType:
    """Show changes in the order they are made, and how many slots and flows move."""
    if not impact.changes:
        return Text("nothing to change")
    table = new_table(["action", "object", "from", "to"])
    for change in impact.changes:
        action = change.action
        table.add_row(
            Text(action, style=_ACTION_STYLES.get(action, "yellow")),
            Text(change.object),
            Text(or_dash(change.before)),
            Text(or_dash(change.after)),
        )
    if not impact.slots:
        return table
    moved = figures.percent(impact.slots_moved / impact.slots)
    return Group(
        table,
        Text(""),
        Text(f"{impact.slots_moved} of {impact.slots} slots move ({moved})"),
        Text(f"{_plural(impact.flows_moved, 'recorded flow')} would lose their backend"),
    )


def reasons_table(reasons: Sequence[Reason]) -> RenderableType:
    """Show the meaning of reasons."""
    table = new_table(["reason", "verdict", "meaning"])
    for reason in reasons:
        style = VERDICT_STYLES.get(reason.verdict, "")
        table.add_row(Text(reason.name), Text(reason.verdict, style=style), Text(reason.text))
    return table


def rules_table(rules: Mapping[Endpoint | None, Rules]) -> RenderableType:
    """Show source rules by scope."""
    if not any(rules.values()):
        return Text("no rules: every source is allowed", style="dim")
    table = new_table(["scope / source", "action"])
    for scope, networks in rules.items():
        table.add_row(Text(scope_name(scope), style="bold"))
        for network in sorted(networks, key=sort_key):
            style = "green" if networks[network] is Action.ALLOW else "red"
            table.add_row(Text(f"  {network}"), Text(networks[network], style=style))
    return table


def vips_table(vips: Sequence[Vip]) -> RenderableType:
    """Show virtual IPs, and what happens on their ports without a service."""
    if not vips:
        return Text("no services", style="dim")
    table = new_table(["vip", "ports without service"], ["services"])
    for vip in vips:
        table.add_row(
            Text(str(vip.address), style="bold"), Text(vip.unserved), Text(str(len(vip.services)))
        )
    return table


def segment(interface: str | None, tags: tuple[Tag, ...]) -> str:
    """Return an interface with its VLAN tags."""
    name = interface or figures.UNKNOWN
    return f"{name} vlan {format_tags(tags)}" if tags else name


def new_table(*groups: Iterable[str]) -> Table:
    """Return a table with groups of columns: texts first, then numbers, and so on in turn.

    Texts fold and are never cut, so that addresses can be copied from a narrow terminal.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, group in enumerate(groups):
        for heading in group:
            if index % 2:
                table.add_column(heading, justify="right", no_wrap=True)
            else:
                table.add_column(heading, overflow="fold")
    return table


def _title(service: Service) -> Text:
    return Text.assemble((str(service.endpoint), "bold"), f"  {service.options.name}".rstrip())


def _affinity(service: Service) -> str:
    options = service.options
    if options.affinity is Affinity.FLOW:
        return str(options.affinity)
    is_v4 = service.endpoint.address.version == 4
    return f"{options.affinity}/{options.netmask4 if is_v4 else options.netmask6}"


def _figures(rated: ServiceRate | BackendRate, has_rates: bool) -> list[Text]:
    # Totals are exact; only the live view rounds them.
    total, rate = rated.total, rated.rate
    cells = [str(total.packets), str(total.bytes), or_dash(total.new_flows)]
    if has_rates:
        cells += map(figures.count, (rate.packets, rate.bits, rate.new_flows))
    return [Text(cell) for cell in cells]


def or_dash(value: object) -> str:
    """Return a value as text; a dash for None."""
    return figures.UNKNOWN if value is None else str(value)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_large(table: RenderableType) -> bool:
    """Return whether a table, or one in a group, has too many rows for rich."""
    if isinstance(table, Group):
        return any(map(is_large, table.renderables))
    return isinstance(table, Table) and table.row_count >= LARGE_TABLE_ROWS


def plain_lines(table: RenderableType) -> Iterator[str]:
    """Yield tables and texts as lines without styles and wrapping."""
    if isinstance(table, Group):
        for each in table.renderables:
            yield from plain_lines(each)
    elif isinstance(table, Table):
        columns = [_cells(column) for column in table.columns]
        for row in zip(*columns, strict=True):
            yield _GAP.join(row).rstrip()
    else:
        yield _plain(table)


def _cells(column: Column) -> list[str]:
    """Return the heading and cells of a column, padded to one width."""
    texts = [_plain(column.header), *map(_plain, column.cells)]
    widths = [cell_len(text) for text in texts]
    width = max(widths)
    padded = [(text, " " * (width - each)) for text, each in zip(texts, widths, strict=True)]
    if column.justify == "right":
        return [blanks + text for text, blanks in padded]
    return [text + blanks for text, blanks in padded]


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
