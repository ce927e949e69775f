"""What the chapters share: the people, numbered steps on a console, and the ledger of a payment."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from demo.people import DemoError, Person

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from rich.console import Console

RETURN_URL = "http://localhost:3000/paid"

MOVEMENTS = """
query ($payment: ID!) {
  payment(id: $payment) { movements { account cause amount { formatted minorUnits } } }
}"""


class Stage:
    """Where the chapters happen, one after the other."""

    def __init__(self, endpoints: Mapping[str, Any], http: aiohttp.ClientSession, console: Console) -> None:
        self.endpoints = endpoints
        self.http = http
        self.console = console
        self.number = 0
        self.host, self.guest, self.guest2, self.service, self.admin = (
            Person(name, endpoints["tokens"][name], endpoints, http, console)
            for name in ("host", "guest", "guest2", "service", "admin")
        )

    def chapter(self, title: str) -> None:
        """Say whose story begins."""
        self.console.print()
        self.console.rule(f"[bold]{title}[/bold]")

    def step(self, title: str) -> None:
        """Say what comes next."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}. {title}[/bold cyan]")

    def say(self, text: str) -> None:
        """Say what came of it."""
        self.console.print(f"   {text}", highlight=False, soft_wrap=True)

    def show(self, rows: list[tuple[str, ...]], *headings: str) -> None:
        """Say it as a table."""
        table = Table(*headings, box=None, padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    async def person(self, path: str, body: dict[str, Any]) -> None:
        """What a person does on one of Stripe's pages."""
        async with self.http.post(f"{self.endpoints['sandbox']}/_sandbox/{path}", json=body) as response:
            if response.status >= 400:
                raise DemoError(f"the sandbox refused {path}: {await response.text()}")

    async def ledger(self, person: Person, payment_id: str) -> None:
        """Every movement of a payment, and what each account holds of it."""
        movements = (await person.ask(MOVEMENTS, payment=payment_id))["payment"]["movements"]
        self.show(
            [(movement["cause"], movement["account"], movement["amount"]["formatted"]) for movement in movements],
            "cause", "account", "amount",
        )  # fmt: skip
        held: Counter[str] = Counter()
        for movement in movements:
            held[movement["account"]] += int(movement["amount"]["minorUnits"])
        for account, minor in sorted(held.items()):
            self.say(f"{account}: {minor} minor units")
        if not movements or held.total() != 0:
            raise DemoError("the movements do not add up to nothing")
        self.say("[green]together: 0[/green]")
