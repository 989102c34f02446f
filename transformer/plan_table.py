"""What `fastlmpi plan` shows."""

from __future__ import annotations

from rich.table import Table

from transformer.model import InferencePlan
from transformer.results import megabytes


def plan_table(name: str, found: InferencePlan) -> Table:
    """Steps of a query by what they send; the caption says the rest."""
    summary, made = found.summary(), found.made_bytes
    ways = {
        "dealer to server": found.dealer_bytes,
        "by encryption": made["he"],
        "by oblivious transfer": made["ot"],
    }
    offline = ", ".join(f"{name} {megabytes(size)}" for name, size in ways.items() if size)
    caption = (
        f"{summary['rounds']} online rounds; set-up {megabytes(sum(found.setup.sent))} once per session; "
        f"offline per query: {offline or 'nothing'}. On the network {summary['network']} these take about "
        f"{summary['network_online_s']} s online, {summary['network_offline_s']} s before; large comparisons are "
        f"made on {'the own shares' if summary['shares_compared'] else 'masked values'}"
    )
    tokens = f"batch {summary['batch']} x {summary['length']} tokens"
    shape = f"{tokens}, profile {summary['profile']}, trust {summary['trust']}, {summary['weights']} weights"
    table = Table(title=f"{name}: {shape}", caption=caption)
    for column in ("step", "messages", "client sends", "server sends"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for tag, row in sorted(found.query.tags.items(), key=lambda kv: -sum(kv[1].sent)):
        table.add_row(tag, str(row.messages), *(megabytes(s) for s in row.sent))
    table.add_row(
        "total", str(summary["rounds"]), megabytes(found.query.sent[0]), megabytes(found.query.sent[1])
    )
    return table
