"""A cause as people are told it, and the next steps. Those that more than one room names are written here."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing: Tandem starts it again by itself"
LINK = "scan its QR with the phone: tandem accounts pair, or the dashboard"
LINK_AGAIN = "link this slot again: scan its QR with the phone"
UPGRADE = "upgrade Tandem: WhatsApp refuses this release of its library"
UPGRADE_IN_TIME = "upgrade Tandem before WhatsApp retires this release of its library"
OPEN_WHATSAPP = "open WhatsApp on the phone, with a network"
OPEN_WHATSAPP_TODAY = "open WhatsApp on the phone today, with a network: WhatsApp is about to unlink every device"
WRITE_TO_KNOWN = "write only to people who have written to this number; what goes to others waits by itself until then"
FIND_WHAT_ENDS = (
    "find what keeps ending its sessions (tandem events --type session_offline): WhatsApp distrusts many logins"
)
WAIT_FOR_BAN = "wait for the end of the ban, then send less and to people who know the number"
PAIR_AGAIN = "begin the pairing again, with the phone at hand"
CHECK_NETWORK = "check this machine's network, then begin the pairing again"
RESTART = "look into the log for what keeps ending it, then restart the slot: tandem accounts restart"
END_THE_OTHER = "end whatever else uses this slot's keys, then restart the slot: tandem accounts restart"
REMOVE_STRANGER = (
    "on the phone that scanned, remove the device under Linked devices; then scan with the phone of this account"
)
LINK_WITHOUT_PASSKEY = (
    "on the phone: Settings, Account, Passkeys, remove the passkey; begin the pairing again, and set it up anew after"
)


@dataclass(frozen=True, slots=True)
class Reason:
    """``key`` is stable and public, ``words`` say what happened, ``next_step`` what the operator has to do."""

    key: str
    words: str
    next_step: str
