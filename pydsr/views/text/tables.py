"""The tables a person reads where a script would ask for ``--json``.

Texts are passed as ``Text``: a plain string is markup to rich, which takes the brackets of
``[fd00::1]:80`` for a style and swallows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydsr.model.addresses import Endpoint, Tag, format_tags
from pydsr.model.change import Impact
from pydsr.model.features import FeatureUse, names
from pydsr.model.options import OPTIONS, Affinity, ServiceOptions
from pydsr.model.rates import BackendRate, ServiceRate, rates_between
from pydsr.model.reasons import Reason, all_reasons
from pydsr.model.service import Service
from pydsr.model.snapshot import Snapshot
from pydsr.model.source_rules import Action, Rules, scope_name, sort_key
from pydsr.views.json.documents import slot_share
from pydsr.views.text import figures

if TYPE_CHECKING:
    from pydsr.control.attached_interfaces import Attached
    from pydsr.control.trace import Explanation
    from pydsr.control.vip_policies import Vip

_MODE_STYLES = {"native": "green", "generic": "yellow"}
_VERDICT_STYLES = {"tx": "green", "redirect": "green", "pass": "yellow", "drop": "red"}
_ACTION_STYLES = {"add": "green", "remove": "red"}


def status_table(
    interfaces: Sequence[Attached],
    services: int,
    backends: int,
    layout_version: int,
    features: FeatureUse,
) -> RenderableType:
    """Show the attached interfaces, how much is configured, and what the program can do."""
    table = _table(["interface", "mode"], ["program"])
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
        yield Text(f"no longer used: {unused}; the next attach leaves it out", style="dim")
    if features.refused:
        yield Text(f"left out by --without: {', '.join(names(features.refused))}", style="yellow")


_OPTION_COLUMNS = {"name", "affinity", "netmask4", "netmask6", "learn"}


def services_table(services: Sequence[Service]) -> RenderableType:
    """Show every service with its options, one a row."""
    if not services:
        return Text("no services", style="dim")
    table = _table(["service", "name", "affinity"], ["backends", "learn"], ["options"])
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
    """Show the backends of every service.

    Args:
        services: those to show.
        interface_names: by interface index.
    """
    if not services:
        return Text("no services", style="dim")
    table = _table(["service / backend"], ["weight", "share"], ["state", "mac", "interface"])
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
                Text(_segment(interface_names.get(backend.ifindex), backend.tags)),
            )
    return table


def stats_table(snapshot: Snapshot, before: Snapshot | None = None) -> RenderableType:
    """Show the totals of services, backends and verdicts.

    Args:
        snapshot: the totals.
        before: an earlier snapshot; with it there are also columns per second since then.
    """
    rates = rates_between(before, snapshot)
    has_rates = before is not None
    # What is not at rest is shown only while anything is.
    changing = any(service.slots_changing for service in snapshot.services)
    headings = ["packets", "bytes", "new flows"] + ["pkt/s", "bit/s", "new/s"] * has_rates
    headings += ["slots changing", "flows recorded"] * changing
    services = _table(["service / backend"], headings)
    for service in rates.services:
        records = snapshot.records.get(service.service.id, 0)
        state = [Text(str(service.service.slots_changing)), Text(str(records))]
        figures_ = [*_figures(service, has_rates), *(state if changing else ())]
        services.add_row(_title(service.service), *figures_)
        for each in service.backends:
            services.add_row(Text(f"  {each.backend.address}"), *_figures(each, has_rates))
    verdicts = _table(["verdict"], ["packets"] + ["pkt/s"] * has_rates)
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
    """Show what would change, in the order of the changes."""
    if not impact.changes:
        return Text("nothing to change")
    table = _table(["action", "object", "from", "to"])
    for change in impact.changes:
        action = change.action
        table.add_row(
            Text(action, style=_ACTION_STYLES.get(action, "yellow")),
            Text(change.object),
            Text(_or_dash(change.before)),
            Text(_or_dash(change.after)),
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


def explain_table(explanation: Explanation, interface: str | None = None) -> RenderableType:
    """Show what the program would do with the packet asked about; the interface is its way out."""
    verdict = str(explanation.verdict)
    table = Table.grid(padding=(0, 2))
    for name, value, style in (
        ("service", explanation.service, "bold"),
        ("verdict", verdict, _VERDICT_STYLES.get(verdict, "")),
        ("reason", explanation.reason, ""),
        ("why", _meanings().get(str(explanation.reason)), ""),
        ("backend", explanation.backend, "bold"),
        ("mac", explanation.mac, ""),
        ("interface", _segment(interface, explanation.tags), ""),
        ("slot", explanation.slot, ""),
    ):
        table.add_row(Text(name, style="dim"), Text(_or_dash(value), style=style))
    return table


def outcomes_table(packets: Mapping[str | None, int]) -> RenderableType:
    """Show how many packets have which reason, and what it means; None is without an answer."""
    table = _table([], ["packets"], ["verdict", "reason", "why"])
    for reason in all_reasons():
        if packets.get(reason.name):
            style = _VERDICT_STYLES.get(reason.verdict, "")
            verdict = Text(reason.verdict, style=style)
            row = Text(str(packets[reason.name])), verdict, Text(reason.name), Text(reason.text)
            table.add_row(*row)
    if packets.get(None):
        unknown = _or_dash(None)
        why = "the program cannot be asked about it"
        table.add_row(str(packets[None]), unknown, unknown, why)
    return table


def _meanings() -> dict[str, str]:
    return {reason.name: reason.text for reason in all_reasons()}


def reasons_table(reasons: Sequence[Reason]) -> RenderableType:
    """Show what every way out of the program means."""
    table = _table(["reason", "packet", "why"])
    for reason in reasons:
        style = _VERDICT_STYLES.get(reason.verdict, "")
        table.add_row(Text(reason.name), Text(reason.verdict, style=style), Text(reason.text))
    return table


def rules_table(rules: Mapping[Endpoint | None, Rules]) -> RenderableType:
    """Show source rules by scope."""
    if not any(rules.values()):
        return Text("no rules: every source is let in", style="dim")
    table = _table(["scope / source", "action"])
    for scope, found in rules.items():
        table.add_row(Text(scope_name(scope), style="bold"))
        for network in sorted(found, key=sort_key):
            style = "green" if found[network] is Action.ALLOW else "red"
            table.add_row(Text(f"  {network}"), Text(found[network], style=style))
    return table


def vips_table(vips: Sequence[Vip]) -> RenderableType:
    """Show virtual IPs with what they do with ports that no service has."""
    if not vips:
        return Text("no services", style="dim")
    table = _table(["vip", "ports without service"], ["services"])
    for vip in vips:
        table.add_row(
            Text(str(vip.address), style="bold"), Text(vip.unserved), Text(str(len(vip.services)))
        )
    return table


def _segment(interface: str | None, tags: tuple[Tag, ...]) -> str:
    name = interface or figures.UNKNOWN
    return f"{name} vlan {format_tags(tags)}" if tags else name


def _table(*groups: Iterable[str]) -> Table:
    # Groups of columns alternate: texts to the left, numbers to the right. Texts fold rather
    # than lose characters, so that an address can be copied from a narrow terminal.
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
    # Totals are exact here: the live view is where numbers are rounded.
    total, rate = rated.total, rated.rate
    cells = [str(total.packets), str(total.bytes), _or_dash(total.new_flows)]
    if has_rates:
        cells += map(figures.count, (rate.packets, rate.bits, rate.new_flows))
    return [Text(cell) for cell in cells]


def _or_dash(value: object) -> str:
    return figures.UNKNOWN if value is None else str(value)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
