"""Small curves and bands, as coordinates for the templates' SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem.api.page_words import SLOTS, STATES, span
from tandem.model.event import Event, EventType
from tandem.model.states import Role, SessionState, Slot
from tandem.model.views import AccountView, SlotView, VitalSample

WIDTH = 1000.0  # of a band's view box; a tenth of a per cent each
_NARROWEST = 2.5  # what is shorter would not be seen
_SPARK_WIDTH, _SPARK_HEIGHT = 120.0, 24.0
_SWITCHES = {EventType.SWITCHED_TO_PRIMARY: Slot.PRIMARY, EventType.SWITCHED_TO_BACKUP: Slot.BACKUP}
_FEW = 2


@dataclass(frozen=True, slots=True)
class Spark:
    """A curve of quality: an SVG path, where it ends, and the same in words."""

    path: str
    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """``x`` and ``width`` in thousandths of the band."""

    x: float
    width: float
    tone: str
    words: str


@dataclass(frozen=True, slots=True)
class Band:
    title: str
    stretches: list[Stretch]
    sends: list[Stretch]
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """``ticks`` are the labels at equal distances, from the left end to now."""

    hours: int
    bands: list[Band]
    switches: list[Stretch]
    ticks: list[str]


def spark(samples: Sequence[VitalSample]) -> Spark | None:
    """Return the curve of quality, broken where there was none; None as long as there is nothing to see."""
    known = [each.quality for each in samples if each.quality is not None]
    if len(known) < _FEW or samples[-1].quality is None:
        return None
    begins, ends = samples[0].at, samples[-1].at
    points: list[str] = []
    pen, x, y = "M", 0.0, 0.0
    for sample in samples:
        if sample.quality is None:
            pen = "M"
            continue
        x = 2 + (_SPARK_WIDTH - 4) * (sample.at - begins) / max(1.0, ends - begins)
        y = 2 + (_SPARK_HEIGHT - 4) * (1 - sample.quality)
        points.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    lowest = round(min(known) * 100)
    return Spark("".join(points), round(x, 1), round(y, 1), f"last {span(ends - begins)}: lowest {lowest} %")


def timeline(view: AccountView, events: Sequence[Event], now: float, hours: int) -> Timeline:
    """Return what the slots went through; ``events`` of the account, oldest first, times in Unix seconds."""
    begins = now - hours * 3600
    switches = [(event.timestamp, _SWITCHES[event.type]) for event in events if event.type in _SWITCHES]
    signs: dict[str, float] = {}
    for event in events:
        signs[event.instance] = max(event.timestamp, signs.get(event.instance, 0.0))
    return Timeline(
        hours,
        [_band(slot, events, signs, _senders(view, switches, events, now), (begins, now)) for slot in view.slots],
        [_switch(at, slot, (begins, now)) for at, slot in switches if at >= begins],
        [f"{hours * 60 * part // 4} min" if hours < _FEW else f"{hours * part / 4:g} h" for part in (4, 3, 2, 1)],
    )


def _band(
    slot: SlotView,
    events: Sequence[Event],
    signs: Mapping[str, float],
    senders: Sequence[tuple[float, float, Slot]],
    window: tuple[float, float],
) -> Band:
    found = [each for each in _states(slot, events, signs, window[1]) if each[1] > window[0]]
    clipped = [(max(begin, window[0]), end, state) for begin, end, state in found]
    stretches = [_stretch(begin, end, *_told(state), window) for begin, end, state in clipped]
    sends = [
        _stretch(max(begin, window[0]), end, "busy", "sends", window)
        for begin, end, who in senders
        if who is slot.slot and end > window[0]
    ]
    online = sum(end - begin for begin, end, state in clipped if state is SessionState.ONLINE)
    words = f"{SLOTS[slot.slot]}: online for {span(online)} of the {span(window[1] - window[0])} shown"
    return Band(SLOTS[slot.slot], sorted(stretches, key=lambda each: -each.width), sends, words)


def _states(
    slot: SlotView, events: Sequence[Event], signs: Mapping[str, float], now: float
) -> list[tuple[float, float, SessionState]]:
    """Return begin, end and state of each stretch. Of the time between two runs of the daemon nothing is claimed."""
    known = {state.value: state for state in SessionState}
    told = [event for event in events if event.slot is slot.slot and event.data.get("state") in known]
    stretches = []
    for index, event in enumerate(told):
        after = told[index + 1] if index + 1 < len(told) else None
        ends = now if after is None else after.timestamp
        if after is not None and after.instance != event.instance:
            ends = min(ends, signs[event.instance])
        stretches.append((event.timestamp, ends, known[str(event.data["state"])]))
    return stretches


def _told(state: SessionState) -> tuple[str, str]:
    words, tone = STATES[state]
    return tone, words


def _senders(
    view: AccountView, switches: Sequence[tuple[float, Slot]], events: Sequence[Event], now: float
) -> list[tuple[float, float, Slot]]:
    """Return who sent from when to when."""
    active = next((slot.slot for slot in view.slots if slot.role is Role.ACTIVE), None)
    if active is None or not events:
        return []
    first = switches[0][1].partner if switches else active
    starts = [(events[0].timestamp, first), *switches]
    ends = [at for at, _ in switches] + [now]
    return [(begin, end, slot) for (begin, slot), end in zip(starts, ends, strict=True)]


def _switch(at: float, slot: Slot, window: tuple[float, float]) -> Stretch:
    return _stretch(at, at, "busy", f"the {slot} took over", window)


def _stretch(begin: float, end: float, tone: str, words: str, window: tuple[float, float]) -> Stretch:
    return band_stretch(begin, end, window, tone, f"{words}, {span(end - begin)}" if end > begin else words)


def band_stretch(
    begin: float, end: float, window: tuple[float, float], tone: str, words: str, *, narrowest: float = _NARROWEST
) -> Stretch:
    """Return a part of a band that shows the window; never too narrow to be seen."""
    scale = WIDTH / (window[1] - window[0])
    width = max(narrowest, (end - begin) * scale)
    x = min(max(0.0, (begin - window[0]) * scale), WIDTH - width)
    return Stretch(round(x, 1), round(width, 1), tone, words)
