"""Games that are played with a market, move by move, with crashes and faults: how they begin, go on and end."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from pydantic import SecretStr

from settings import Settings
from tests.support.crashes import Boundary, Trouble
from tests.support.postgres import PostgresServer, create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from tests.support.market import Market

    Run = Callable[[Coroutine[Any, Any, Any]], Any]

SOAK: Final = int(os.environ.get("TEST_SOAK", "0"))
"""So many games, other ones each time, in place of the few and always the same ones of CI."""
MINUTE, DAY = 60, 86_400
FAULTS = ("rate_429", "rate_500", "reset_before", "reset_after")

which = st.integers(0, 11)
crashes = st.builds(Trouble.crash, st.sampled_from(Boundary), st.sampled_from((0, 0, 1)))
faults = st.builds(Trouble.failing, st.sampled_from(FAULTS), st.integers(0, 5), st.sampled_from((0, 0, 1, 2)))

Thing = TypeVar("Thing")
Kind = TypeVar("Kind", bound="Market")


def chosen(things: list[Thing], index: int) -> list[Thing]:
    """One of them in a list, or none where there is none."""
    return [things[index % len(things)]] if things else []


class MarketGame(RuleBasedStateMachine):
    """One market from its opening until everybody agrees."""

    market: Market

    def __init__(self, run: Run, opened: Callable[..., Any]) -> None:
        super().__init__()
        self._run = run
        self._opened = opened
        self._stack = AsyncExitStack()
        self._is_sound = False

    def begin(self, first: Callable[[], Coroutine[Any, Any, None]], *offered: Any) -> None:
        """Open the market, and let happen what games begin with."""

        async def begun() -> None:
            self.market = await self._stack.enter_async_context(self._opened(*offered))
            await first()

        self._run(begun())
        self._is_sound = True

    def step(self, move: Coroutine[Any, Any, Any], trouble: Trouble | None = None) -> None:
        """Make a move, in trouble or not; whatever came of it, all must hold."""

        async def moved() -> None:
            self.market.trap.arm(trouble)
            await move
            self.market.trap.arm(None)
            await self.market.check()

        self._is_sound = False
        self._run(moved())
        self._is_sound = True

    def teardown(self) -> None:
        """All comes to rest, half the time by webhooks and half the time by the sweeper."""

        async def ended() -> None:
            try:
                if self._is_sound:
                    await self.market.come_to_rest(by_webhook=len(self.market.asked) % 2 == 0)
            finally:
                await self._stack.aclose()

        self._run(ended())


def play(game: Callable[[Run], RuleBasedStateMachine], *, games: int, steps: int) -> None:
    """Play so many games of so many moves, or as many as `SOAK` says."""
    settings = hypothesis_settings(
        max_examples=SOAK or games, stateful_step_count=50 if SOAK else steps, derandomize=not SOAK, database=None,
        deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # making a failure's game shorter takes minutes
    )  # fmt: skip
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        run_state_machine_as_test(lambda: game(runner.run), settings=settings)


@asynccontextmanager
async def opened(
    kind: type[Kind], postgres: PostgresServer, valkey: str, sandbox: str, capacities: tuple[int, int]
) -> AsyncIterator[Kind]:
    """A market on a database of its own.

    A call that fails is not tried again at once, and what nothing explains is nobody's at once: waiting takes its time.
    """
    name = await create_database(postgres)
    settings = Settings(
        _env_file=None, database_url=SecretStr(postgres.database(name)), redis_url=SecretStr(valkey),
        stripe_api_base=sandbox, stripe_webhook_secret=(SecretStr("whsec_platform"),),
        stripe_connect_webhook_secret=(SecretStr("whsec_connect"),), return_urls=("https://front.example/",),
        stripe_rate=5000, breaker_failures=1_000_000, stripe_deadline_s=0.001, duplicate_wait_s=0.05,
        balance_wait_s=0.001,
    )  # fmt: skip
    try:
        async with kind.open(settings, sandbox, capacities) as market:
            yield market
    finally:
        await drop_database(postgres, name)
