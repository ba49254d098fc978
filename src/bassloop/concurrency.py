"""Structured concurrency beyond Trio's own: nurseries, shields, locks, events, retries, caches and rate limits.

Each class and function says what it promises when its caller is cancelled. Times are in seconds, on Trio's
clock unless another one is given.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import cachetools
import trio

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Generator,
        Hashable,
        Iterable,
        Iterator,
    )

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
T = TypeVar("T")


@asynccontextmanager
async def open_flat_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery that raises a single exception as itself.

    Where one task failed, or the body did, that exception comes out without a group around it, so that an
    ordinary ``except`` works; several stay an ExceptionGroup. An exception wins over the Cancelled of its
    siblings, as it would without the nursery; Cancelled alone comes out as one Cancelled.

    Cancelled, it behaves as any nursery: all tasks are cancelled and waited for.
    """
    with flat_errors():
        async with trio.open_nursery() as nursery:
            yield nursery


@contextmanager
def flat_errors() -> Generator[None]:
    """Flatten the body's exceptions like `open_flat_nursery`, for a nursery that a library opens."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = _flatten(group)
        if error is group:
            raise
        context = error.__context__
        try:
            raise error
        finally:
            # Raising it here would otherwise show the group as its context.
            error.__context__ = context
            del error, context


def _flatten(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the only exception in a group, or the group without Cancelled, or else one Cancelled."""
    cancelled, errors = group.split(trio.Cancelled)
    error: BaseException = errors or cancelled or group
    while isinstance(error, BaseExceptionGroup) and (errors is None or len(error.exceptions) == 1):
        error = error.exceptions[0]
    return error


async def run_all(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Make all calls at the same time; the first that fails cancels the others, and raises its error.

    Cancelled, it cancels all of them and waits for them.
    """
    try:
        async with open_flat_nursery() as nursery:
            for each in calls:
                nursery.start_soon(each)
    except ExceptionGroup as several:  # they failed at once, or while they were cancelled
        raise several.exceptions[0] from several


# On macOS, the monotonic clock is one that goes on.
_SLEEPLESS_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def sleepless_time() -> float:
    """Return the seconds of a monotonic clock that, unlike Trio's, keeps running while the machine sleeps."""
    return time.clock_gettime(_SLEEPLESS_CLOCK)


def shielded(seconds: float) -> trio.CancelScope:
    """Return a cancel scope that shields its body from outer cancellation, for so many seconds.

    It's for cleanup, such as closing a row, reaping a process or revoking a token. When the time is up, the body is
    cancelled, and the scope's `cancelled_caught` is true. A thread that the body started is still waited for, however
    long it takes.
    """
    return trio.move_on_after(seconds, shield=True)


@asynccontextmanager
async def deferred_cancellation(seconds: float) -> AsyncGenerator[None]:
    """Shield the body from outer cancellation, for no longer than so many seconds.

    It's for work that others wait for as well. Unlike `shielded`, it doesn't limit the body while its caller isn't
    cancelled.
    """
    with trio.CancelScope(shield=True) as scope:
        async with open_flat_nursery() as nursery:
            nursery.start_soon(_remove_shield, scope, seconds)
            yield
            nursery.cancel_scope.cancel()


async def _remove_shield(scope: trio.CancelScope, seconds: float) -> None:
    await trio.sleep(seconds)
    scope.shield = False


@asynccontextmanager
async def outlasting_scope(seconds: float) -> AsyncGenerator[trio.CancelScope]:
    """Yield a shielding scope for a task that others need when they clean up, to be cancelled after them.

    When the caller is cancelled, the scope is cancelled so many seconds later at the latest.
    """
    scope = trio.CancelScope(shield=True)
    async with open_flat_nursery() as nursery:
        nursery.start_soon(_expire_after_cancellation, scope, seconds)
        yield scope
        nursery.cancel_scope.cancel()


async def _expire_after_cancellation(scope: trio.CancelScope, seconds: float) -> None:
    try:
        await trio.sleep_forever()
    finally:
        scope.deadline = min(scope.deadline, trio.current_time() + seconds)


class KeyedLock(Generic[K]):
    """One lock for each key; a key that nobody holds or waits for takes no memory.

    The lock of a key is fair, and isn't reentrant. Cancelled while it waits, a task holds nothing.
    """

    def __init__(self) -> None:
        self._locks: dict[K, trio.Lock] = {}
        self._users: Counter[K] = Counter()

    def __len__(self) -> int:
        return len(self._locks)

    def __contains__(self, key: K) -> bool:
        """Return whether somebody holds the lock of a key, or waits for it."""
        return key in self._locks

    def __repr__(self) -> str:
        return f"<KeyedLock: {len(self._locks)} keys, {self._users.total()} tasks>"

    @asynccontextmanager
    async def hold(self, key: K) -> AsyncGenerator[None]:
        """Hold the lock of a key while the body runs. A checkpoint on entry."""
        lock = self._locks.setdefault(key, trio.Lock())
        self._users[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


@dataclass(eq=False)
class _Call(Generic[V]):
    over: trio.Event = field(default_factory=trio.Event)
    results: list[V] = field(default_factory=list)
    error: Exception | None = None


class SharedCalls(Generic[K, V]):
    """One call for each key at a time, whose result is shared by everybody who asked for it in the meantime.

    Errors are shared as well, so that callers of a service that is down don't fail one after the other. If the task
    that makes the call is cancelled, one of the others makes it instead.
    """

    def __init__(self) -> None:
        self._calls: dict[K, _Call[V]] = {}

    async def share(self, key: K, operation: Callable[[], Awaitable[V]]) -> V:
        """Return the result of `operation`, or of the call for this key that is already under way."""
        while (call := self._calls.get(key)) is not None:
            await call.over.wait()
            if call.error is not None:
                raise call.error
            if call.results:
                return call.results[0]
        call = self._calls[key] = _Call()
        try:
            result = await operation()
            call.results.append(result)
            return result
        except Exception as error:
            call.error = error
            raise
        finally:
            del self._calls[key]
            call.over.set()


class AutoResetEvent:
    """An event that wakes one waiter and resets itself.

    Set while nobody waits, it lets the next waiter through; set several times, it still lets one through.
    A waiter that is cancelled takes nothing: no `set` is ever lost.
    """

    def __init__(self) -> None:
        self._set = False
        self._waiters = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<AutoResetEvent: {'set' if self._set else f'{len(self._waiters)} waiting'}>"

    def set(self) -> None:
        """Wake one waiter, now or as soon as there is one."""
        if self._waiters:
            self._waiters.unpark()
        else:
            self._set = True

    async def wait(self) -> None:
        """Wait until the event is set, and reset it. A checkpoint."""
        if not self._set:
            await self._waiters.park()
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        self._set = False
        await trio.lowlevel.cancel_shielded_checkpoint()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts that grow exponentially, with jitter.

    Args:
        first: the delay after the first failure.
        longest: the bound that the delay doubles to.
        jitter: the fraction by which a delay is shortened or lengthened at most, at random; 0 for none.
        random: returns a number from 0 to 1; replaced in tests.
    """

    first: float
    longest: float
    jitter: float = 0.5
    random: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, 1 or more."""
        steps = min(failures - 1, 64)
        delay = min(self.first * 2.0**steps, self.longest)
        return delay * (1 + self.jitter * (2 * self.random() - 1))


async def retry(
    operation: Callable[[], Awaitable[T]],
    backoff: Backoff,
    *,
    retry_after: Callable[[Exception], float | None],
    attempts: float = math.inf,
    on_retry: Callable[[Exception, float], object] | None = None,
    wake: Callable[[], Awaitable[object]] = trio.sleep_forever,
) -> T:
    """Await an operation until it succeeds, and return its result. Raises what the last attempt raised.

    Tenacity isn't used here: it keeps each attempt's BaseException, a Cancelled included, in a Future until
    its predicates have decided.

    Args:
        operation: what to do; called anew for each attempt.
        backoff: how long to wait in between.
        retry_after: returns the minimum delay in seconds for an error, or None if another attempt is useless.
        attempts: the maximum number of attempts.
        on_retry: called with the error and the delay before each wait.
        wake: awaited between attempts; as soon as it returns, the next attempt begins.

    If cancelled, it ends at once, during an attempt as well as between two.
    """
    failures = 0
    while True:
        try:
            return await operation()
        except Exception as error:
            failures += 1
            least = retry_after(error)
            if least is None or failures >= attempts:
                raise
            delay = max(least, backoff.delay(failures))
            if on_retry is not None:
                on_retry(error, delay)
        with trio.move_on_after(delay):
            await wake()


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    seconds: float


class TTLCache(Generic[K, V]):
    """A cache whose values expire. The least recently used value is evicted when there are too many.

    A value that is being fetched while somebody forgets its key may be out of date before it is stored:
    note `generation` before fetching and pass it to `store`, which then drops what a `forget` overtook.
    Nothing here is a checkpoint.

    Args:
        size: how many values are kept, or how much of them when `size_of` is given.
        seconds: how long a value is kept.
        clock: seconds, monotonic.
        size_of: the size of one value, 1 by default. A value larger than the cache isn't kept.
    """

    def __init__(
        self,
        size: int,
        seconds: float = math.inf,
        *,
        clock: Callable[[], float] = trio.current_time,
        size_of: Callable[[V], int] | None = None,
    ) -> None:
        self._seconds = seconds
        self._cache: cachetools.TLRUCache[K, _Entry[V]] = cachetools.TLRUCache(
            size,
            ttu=lambda _, entry, now: now + entry.seconds,
            timer=clock,
            getsizeof=None if size_of is None else (lambda entry: size_of(entry.value)),
        )
        self.generation = 0

    def __len__(self) -> int:
        return len(self._cache)

    def __contains__(self, key: K) -> bool:
        return key in self._cache

    def __repr__(self) -> str:
        return f"<TTLCache: {self._cache.currsize:,.0f} of {self._cache.maxsize:,.0f}>"

    @property
    def current_size(self) -> float:
        """The number of values, or the sum of their sizes."""
        return self._cache.currsize

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys())

    def keys(self) -> list[K]:
        """Return the keys whose values have not expired."""
        self._cache.expire()
        return list(self._cache)

    def values(self) -> list[V]:
        """Return the values that have not expired, without marking them as used."""
        self._cache.expire()
        return [entry.value for entry in self._cache.values()]

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: T) -> V | T: ...
    def get(self, key: K, default: T | None = None) -> V | T | None:
        """Return a value that has not expired, and mark it as used."""
        entry = self._cache.get(key)
        return default if entry is None else entry.value

    def store(
        self, key: K, value: V, *, seconds: float | None = None, generation: int | None = None
    ) -> None:
        """Keep a value.

        Args:
            seconds: how long, if not as long as the others.
            generation: the cache's before the value was fetched; the value is dropped if it has changed.
        """
        if generation is not None and generation != self.generation:
            return
        self._cache.pop(key, None)
        try:
            self._cache[key] = _Entry(value, self._seconds if seconds is None else seconds)
        except ValueError:  # cachetools: larger than the whole cache
            return

    def forget(self, key: K) -> None:
        """Drop a value, and any that is being fetched, for whatever key."""
        self.generation += 1
        self._cache.pop(key, None)

    def forget_where(self, matches: Callable[[K], bool]) -> None:
        """Drop the values whose keys match, and any that are being fetched."""
        self.generation += 1
        for key in list(self._cache):
            if matches(key):
                self._cache.pop(key, None)

    def clear(self) -> None:
        """Drop all values, including those that are being fetched."""
        self.generation += 1
        self._cache.clear()


class TokenBucket:
    """A token bucket: a rate limit that allows bursts.

    It has no tasks and never waits: ask it, then refuse, drop or sleep for `seconds_until`.

    Args:
        capacity: the number of tokens at the start, and the maximum.
        rate: the tokens added per second.
        clock: seconds, monotonic.
    """

    __slots__ = ("_clock", "_counted_at", "_tokens", "capacity", "rate")

    def __init__(
        self, capacity: float, rate: float, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.capacity = capacity
        self.rate = rate
        self._clock = clock
        self._tokens = capacity
        self._counted_at: float | None = None

    def __repr__(self) -> str:
        return f"<TokenBucket: {self._tokens:g} of {self.capacity:g}, {self.rate:g} a second>"

    @property
    def tokens(self) -> float:
        """The number of tokens available now."""
        now = self._clock()
        if self._counted_at is not None:
            earned = (now - self._counted_at) * self.rate
            self._tokens = min(self._tokens + earned, self.capacity)
        self._counted_at = now
        return self._tokens

    def take(self, tokens: float = 1) -> bool:
        """Take tokens if there are enough, and return whether there were."""
        if self.tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def charge(self, tokens: float) -> None:
        """Take tokens even if there aren't enough. The debt has to be refilled first."""
        self._tokens = self.tokens - tokens

    def seconds_until(self, tokens: float = 1) -> float:
        """Return the seconds until so many tokens are available; infinity if they never will be."""
        missing = tokens - self.tokens
        if missing <= 0:
            return 0.0
        return missing / self.rate if self.rate > 0 and tokens <= self.capacity else math.inf
