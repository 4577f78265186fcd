"""The lines of a long pass: every 10 s how much is done, the rate and the time left, and at the end the totals.

After ten minutes a line follows only when the time so far has grown by a sixtieth, so that the log of a day's training
stays short. On a terminal one line is rewritten every second instead. A pass that ends within 10 s prints only what the
stage prints before and after it.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

EVERY, EVERY_ON_TERMINAL = 10.0, 1.0
SHARE = 1 / 60  # of the time so far between two lines, if that is longer
REWRITE = "\r\x1b[K"

BlockT = TypeVar("BlockT")


class Meter:
    """Counts the items of the passes of a stage; `write` receives text with its line end, None prints nothing.

    `clock` returns seconds that never go back. With `terminal` a line replaces the last one.
    """

    def __init__(
        self,
        name: str = "",
        write: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        terminal: bool = False,
    ) -> None:
        self.name = name
        self._write, self._clock, self._terminal = write, clock, terminal
        self._lock = threading.Lock()
        self._start = self._printed = self._pass_start = clock()
        self._what, self._total, self._done, self._ended = "", 0, 0, False
        # Name of a pass -> the items counted in all passes of this name, and their seconds.
        self._passes: dict[str, tuple[int, float]] = {}

    def begin(self, what: str, total: int = 0) -> None:
        """Start a pass over `total` items, named by them; 0 if they cannot be counted."""
        with self._lock:
            now = self._clock()
            if self._what:
                count, seconds = self._passes.get(self._what, (0, 0.0))
                self._passes[self._what] = count + self._done, seconds + now - self._pass_start
            self._what, self._total, self._done, self._pass_start = what, total, 0, now

    def add(self, count: int) -> None:
        """Count items of the pass, and print a line if it is time."""
        self._done += count
        self.tick()

    def tick(self) -> None:
        """Print a line if it is time."""
        with self._lock:
            now = self._clock()
            pause = EVERY_ON_TERMINAL if self._terminal else max(EVERY, SHARE * (self._printed - self._start))
            if self._write and self._what and now - self._printed >= pause:
                self._printed = now
                line = f"{self.name}: {self._state(now - self._pass_start)}"
                self._write(f"{REWRITE}{line}" if self._terminal else f"{line}\n")

    def over(self, blocks: Iterable[BlockT], what: str, total: int, size: Callable[[BlockT], int]) -> Iterator[BlockT]:
        """Yield the blocks of a pass over `total` items, and count the items of each after its use."""
        self.begin(what, total)
        for block in blocks:
            yield block
            self.add(size(block))
        self.begin("")

    @contextlib.contextmanager
    def beating(self) -> Iterator["Meter"]:
        """Print lines by a thread as well, for passes that are one long call; not where processes are forked."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(EVERY_ON_TERMINAL):
                self.tick()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()

    def announce(self, what: str) -> None:
        """Print what the stage will do."""
        if self._write:
            self._write(f"{self.name}: {what}\n")

    def clear(self) -> None:
        """Remove the line that is rewritten on a terminal, before something else is printed there."""
        if self._write and self._terminal:
            self._write(REWRITE)

    def finish(self, more: str = "") -> None:
        """Print the passes with their rates, and the seconds since the meter was made; a second call prints nothing."""
        self.begin("")
        if self._write and not self._ended:
            self._ended = True
            done = [per_second(count, what, seconds) for what, (count, seconds) in self._passes.items()]
            line = "; ".join([*done, f"{format_seconds(self._clock() - self._start)} in all{more}"])
            self._write(f"{REWRITE * self._terminal}{self.name}: {line}\n")

    def _state(self, seconds: float) -> str:
        if not self._total or not self._done or seconds <= 0:
            return f"{self._what}, {format_seconds(seconds)} so far"
        rate = self._done / seconds
        left = format_seconds(max(0, self._total - self._done) / rate)
        return f"{self._what}, {self._done:,} of {self._total:,}, {format_rate(rate)}/s, {left} left"


_CURRENT: ContextVar[Meter] = ContextVar("meter")


def current_meter() -> Meter:
    """Return the meter of the stage or command that runs, a silent one without any.

    Library code far below a stage counts with it, so that no function in between has to pass it on.
    """
    return _CURRENT.get(None) or Meter()


@contextlib.contextmanager
def metered(name: str, what: str = "", is_first: bool = True) -> Iterator[Meter]:
    """Make a meter of stdout the current one in a `with` block; other processes than the first print nothing.

    `what` is announced at the start. The end prints the totals; an error removes the line that a terminal rewrites.
    """
    meter = Meter(name, _print if is_first else None, terminal=sys.stdout.isatty())
    before = _CURRENT.set(meter)
    try:
        if what:
            meter.announce(what)
        yield meter
        meter.finish()
    except BaseException:
        meter.clear()
        raise
    finally:
        _CURRENT.reset(before)


@contextlib.contextmanager
def progress(name: str) -> Iterator[Meter]:
    """Make a meter of stderr the current one in a `with` block, for a command whose stdout is its result.

    It prints what the command announces and the lines of long passes, and no totals.
    """
    meter = Meter(name, _print_error, terminal=sys.stderr.isatty())
    before = _CURRENT.set(meter)
    try:
        with meter.beating():
            yield meter
    finally:
        meter.clear()
        _CURRENT.reset(before)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()  # a pipe would hold the line back until the end of the stage


def _print_error(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def per_second(count: int, unit: str, seconds: float) -> str:
    """Return a count with its time and its rate, or the time of what was not counted.

    >>> per_second(6810, "photos", 41.94), per_second(0, "intervals", 2.0)
    ('6,810 photos in 41.9 s, 162 photos/s', 'intervals in 2.0 s')
    """
    rate = f", {format_rate(count / seconds)} {unit}/s" if count and seconds > 0 else ""
    return f"{f'{count:,} ' * (count > 0)}{unit} in {format_seconds(seconds)}{rate}"


def format_rate(rate: float) -> str:
    """Return items per second, or with one digit if there are few.

    >>> format_rate(1234.5), format_rate(7.26), format_rate(0.0312)
    ('1,234', '7.3', '0.031')
    """
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit that a reader needs.

    >>> format_seconds(4.21), format_seconds(75), format_seconds(7384)
    ('4.2 s', '1 min 15 s', '2 h 03 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
