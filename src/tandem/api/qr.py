"""The QR of a pairing under way: a secret, for the admin only, never kept by anyone in between."""

from __future__ import annotations

import io

import segno
from aiohttp import web

from tandem.api.context import Access, context_of
from tandem.api.endpoint import Answer, Endpoint, Parameter
from tandem.api.inputs import account_of, choice_of
from tandem.api.problems import Refused
from tandem.api.respond import answer
from tandem.api.views import PendingAnswer
from tandem.errors import Conflict, NotFound
from tandem.model.states import Slot
from tandem.model.views import AccountView, PairingView, PairMethod, SlotView

_SVG, _PNG, _TEXT = "image/svg+xml", "image/png", "text/plain"
_OFFERED = (_PNG, _SVG, _TEXT)


async def get_qr(request: web.Request) -> web.Response:
    """200 the QR; 202 soon; 404 no pairing under way; 409 paired already. ``text/plain`` also gives a pairing code."""
    media = negotiate(request.headers.get("Accept", ""))
    context = context_of(request)
    view = context.parts.accounts.get(account_of(request))
    slot = view.slot(choice_of(request, "slot", Slot) or _shown_first(view))
    pairing = _pairing(slot)
    if not pairing.text or pairing.expires_at <= context.clock.now():
        soon = "there is no code yet; ask again in a second"
        return answer(PendingAnswer(detail=soon), status=202, headers={"Retry-After": "1"})
    if pairing.method is PairMethod.CODE and media != _TEXT:
        raise Conflict("this pairing goes by a code to type: ask for text/plain")
    response = web.Response(body=draw(pairing.text, media), content_type=media, charset=_charset(media))
    response.headers["Vary"] = "Accept, Authorization, Cookie"
    return response


def _charset(media: str) -> str | None:
    return "utf-8" if media == _TEXT else None


def _shown_first(view: AccountView) -> Slot:
    return next((slot.slot for slot in view.slots if slot.pairing), Slot.PRIMARY)


def _pairing(slot: SlotView) -> PairingView:
    if slot.pairing is not None:
        return slot.pairing
    if slot.device and not slot.state.terminal:
        raise Conflict(f"the {slot.slot} slot is paired already; there is nothing to scan")
    raise NotFound(f"no pairing of the {slot.slot} slot is under way: start one with POST …/pair")


def draw(text: str, media: str) -> bytes:
    """Return a QR text as an image, or as it is."""
    if media == _TEXT:
        return text.encode()
    out = io.BytesIO()
    code = segno.make(text, error="l", micro=False)
    if media == _SVG:
        code.save(out, kind="svg", border=4, omitsize=True, xmldecl=False, light="#fff", dark="#000")
    else:
        code.save(out, kind="png", border=4, scale=8)
    return out.getvalue()


def negotiate(accept: str) -> str:
    """Return the media type to answer with: the most wanted, named ones before ``*/*``, PNG when nothing is said."""
    wanted = [_wish(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best = max(_OFFERED, key=lambda media: max((_rank(media, wish) for wish in wanted), default=(0.0, 0)))
    if max(_rank(best, wish) for wish in wanted)[0] <= 0:
        raise Refused(406, "not_acceptable", f"this comes as {', '.join(_OFFERED)}")
    return best


def _wish(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return media, float(quality)
    except ValueError:
        return media, 0.0


def _rank(media: str, wish: tuple[str, float]) -> tuple[float, int]:
    wanted, quality = wish
    if wanted == media:
        return quality, 2
    if wanted == f"{media.partition('/')[0]}/*":
        return quality, 1
    return (quality, 0) if wanted == "*/*" else (0.0, 0)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/whatsapp/account/{account}/qr",
        get_qr,
        Access.ADMIN,
        "The QR to scan on the phone, as an image or as text.",
        {200: Answer("The QR.", _OFFERED), 202: Answer("Not there yet, or between two QRs.", PendingAnswer)},
        parameters=(Parameter("slot", "Which slot.", {"enum": [str(slot) for slot in Slot]}),),
        errors=(400, 404, 406, 409),
        quiet=True,
    ),
)
