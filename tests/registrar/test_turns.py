"""Turns: a bit of work at a time, users one after another, and everything else in between."""

import trio
import trio.testing

from shim.registrar.turns import TRUSTED, Turns
from tests.builders import in_trio


@in_trio
async def test_a_user_with_one_request_waits_for_one_turn_of_one_with_many() -> None:
    turns = Turns()
    done: list[int] = []

    async def work(share: int, bits: int) -> None:
        for _ in range(bits):
            await turns.take(share)
            done.append(share)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(work, 1000, 10)
        await trio.sleep(0)
        while len(done) < 100:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(work, 7, 10)
    before = done.index(7)
    # One that is woken for its turn cannot be in the queue for the next already: a third of them.
    assert done[before : before + 30].count(7) == 10
    assert len(done) == 510


@in_trio
async def test_trusted_users_come_first() -> None:
    turns = Turns()
    done: list[int] = []

    async def work(share: int) -> None:
        await turns.take(share)
        done.append(share)

    async with trio.open_nursery() as nursery:
        for share in (1, 2, 3, 4, 1, 2, TRUSTED, TRUSTED):
            nursery.start_soon(work, share)
    # One finds nobody at work, and is not kept waiting.
    assert done[:3].count(TRUSTED) == 2


@in_trio
async def test_one_turn_is_one_round_of_all_tasks() -> None:
    turns = Turns()
    rounds = 0
    begun: list[int] = []

    async def tick() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async def work(share: int) -> None:
        await turns.take(share)
        begun.append(rounds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        async with trio.open_nursery() as workers:
            for share in range(40):
                workers.start_soon(work, share % 4)
        nursery.cancel_scope.cancel()
    # Twice where the counter comes before one and after another.
    assert max(begun.count(number) for number in begun) <= 2


@in_trio
async def test_one_who_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    turns = Turns()
    done: list[int] = []

    async def work(share: int) -> None:
        await turns.take(share)
        done.append(share)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, 1)
        async with trio.open_nursery() as gone:
            for share in (1, 2, 3):
                gone.start_soon(work, share)
            gone.cancel_scope.cancel()
        nursery.start_soon(work, 2)
    await work(3)
    assert sorted(done) == [1, 2, 3]
