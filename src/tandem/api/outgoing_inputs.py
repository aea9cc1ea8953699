"""What can be asked to be sent: one schema, whose forms exclude each other."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from tandem.model.ids import ChatId
from tandem.model.outbox import IdempotencyKey, IfUnknown

LONGEST_EXPIRY = 7 * 24 * 3600
_MOST_READ = 100
_FORMS = ("message", "reaction", "revoke")

MessageId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
"""WhatsApp's id of a message, as the conversation lists it."""


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        """Absent and null would say the same in two ways."""
        if isinstance(value, dict) and None in value.values():
            raise ValueError("leave out what shall not be there, instead of null")
        return value


class ReactionForm(Strict):
    """An empty ``emoji`` takes the reaction back."""

    message_id: MessageId = Field(alias="messageId")
    emoji: Annotated[str, StringConstraints(max_length=32)]


class RevokeForm(Strict):
    """Takes an own message back, for everyone."""

    message_id: MessageId = Field(alias="messageId")


class SendBody(Strict):
    """Exactly one of ``message`` (text, as it shall appear on the other phone), ``reaction`` and ``revoke``.

    ``replyTo`` makes the message an answer to one of the same chat.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [form]} for form in _FORMS],
            "dependentRequired": {"replyTo": ["message"]},
        }
    )

    message: Annotated[str, StringConstraints(min_length=1, max_length=65_536)] | SkipJsonSchema[None] = None
    reply_to: MessageId | SkipJsonSchema[None] = Field(None, alias="replyTo")
    reaction: ReactionForm | SkipJsonSchema[None] = None
    revoke: RevokeForm | SkipJsonSchema[None] = None
    expires_in_seconds: Annotated[int, Field(ge=1, le=LONGEST_EXPIRY)] | SkipJsonSchema[None] = Field(
        None,
        alias="expiresInSeconds",
        description="Give it up if it was not sent by then; without it, TANDEM_QUEUE__OUTBOX_EXPIRY.",
    )
    if_unknown: Annotated[IfUnknown, Field(strict=False)] = Field(
        IfUnknown.RESEND,
        alias="ifUnknown",
        description="When a send got no answer: send it again once it is proven that WhatsApp does not have it, or "
        "park it for an operator.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(getattr(self, form) is not None for form in _FORMS) != 1:
            raise ValueError("give exactly one of message, reaction and revoke")
        if self.reply_to is not None and self.message is None:
            raise ValueError("replyTo goes with message")
        return self

    def key(self, text: str | None, chat: ChatId) -> IdempotencyKey | None:
        """Return the client's key with a digest of the request; of a bare text the one of the first release."""
        if text is None:
            return None
        said = self.model_dump(by_alias=True, exclude_defaults=True)
        form = f"{chat}\n{self.message}" if said.keys() == {"message"} else f"{chat}\0{self._canonical()}"
        return IdempotencyKey(text, sha256(form.encode(errors="surrogatepass")).digest())

    def _canonical(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_defaults=True)


class ReadBody(Strict):
    """Which messages of the chat were read."""

    message_ids: Annotated[list[MessageId], Field(min_length=1, max_length=_MOST_READ)] = Field(alias="messageIds")
