"""Every setting, typed, grouped, documented. Environment over config file over default.

The public names stand in the table of the README, which is generated from here (``tandem check --settings``). Names
that operators bring along (``PORT``, ``USE_MESSAGE_BATCHING``, ``RAILWAY_…``) are kept; everything else is
``TANDEM_<GROUP>__<NAME>``. The config file is TOML, named by ``TANDEM_CONFIG``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from tandem.errors import Misconfigured

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_LEAST_SELF_PROBE = 60.0
Rate = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class ApiSettings(BaseModel):
    """The HTTP API and the dashboard."""

    host: str = Field("", description="Address to listen on. Empty: loopback without a token, all interfaces with one.")
    max_body_bytes: Count = Field(1_048_576, description="Largest accepted request body.")
    max_accounts: Count = Field(100, description="Most accounts that may be added.")


class DeviceSettings(BaseModel):
    """The processes that run the WhatsApp library."""

    hello_timeout: Seconds = Field(10.0, description="Seconds a new host has to say that it is up.")
    connect_timeout: Seconds = Field(30.0, description="Seconds from a host's start to being online.")
    heartbeat_interval: Seconds = Field(1.0, description="Seconds between a host's heartbeats.")
    heartbeat_timeout: Seconds = Field(10.0, description="Silence of a host after which it is killed.")
    command_timeout: Seconds = Field(80.0, description="Seconds a library call may take before its host is killed.")
    stop_grace: Seconds = Field(1.5, description="Seconds a host has to disconnect before it is killed.")


class SessionSettings(BaseModel):
    """Reconnection and the pair."""

    backoff_first: Seconds = Field(1.0, description="Upper bound of the first wait before a host is started again.")
    backoff_max: Seconds = Field(60.0, description="Upper bound of any wait; waits are full-jitter.")
    stable_after: Seconds = Field(60.0, description="Seconds online after which the backoff starts over.")
    library_retry: Seconds = Field(3.0, description="Seconds the library's own first retry has before we recycle.")
    suspect_after: Seconds = Field(2.0, description="Seconds without an answer to a send that make its slot suspect.")
    ping_interval: Annotated[float, Field(ge=1, le=60)] = Field(
        10.0, description="Seconds between two pings of a session; more while WhatsApp asks for it."
    )
    ping_answer: Annotated[float, Field(ge=0.5, le=10)] = Field(
        1.5, description="Seconds a ping's answer may take before the session is asked once more."
    )
    self_probe_interval: float = Field(
        0.0,
        ge=0,
        description="Least seconds, 60 or more, between self-probes, which nobody sees; 0: none.",
    )
    logins_per_second: float = Field(8.0, gt=0, description="Logins a second over all accounts, after a burst of 8.")
    restart_intensity: Count = Field(20, description="Crashes of a host within the period that park its slot.")
    restart_period: Seconds = Field(300.0, description="Length of that period in seconds.")
    pairing_window: Seconds = Field(600.0, description="Seconds a pairing shows fresh QRs before it is given up.")

    @field_validator("self_probe_interval")
    @classmethod
    def _low_rate(cls, value: float) -> float:
        if 0 < value < _LEAST_SELF_PROBE:
            raise ValueError(f"self-probes must be {_LEAST_SELF_PROBE:g} s apart at least, or 0 for none")
        return value


class QueueSettings(BaseModel):
    """The durable queue."""

    max_inbox: Count = Field(1_000_000, description="Messages held on disk while the store does not answer.")
    max_outbox: Count = Field(10_000, description="Messages waiting to be sent per account; beyond it: 429.")
    outbox_expiry: Seconds = Field(86_400.0, description="Age in seconds at which an unsent message expires.")
    decrypt_patience: Seconds = Field(120.0, description="Seconds after which a message nobody can decrypt is missing.")
    dedupe_days: Count = Field(30, description="Days a message's key is remembered to recognise late copies.")


class PacingSettings(BaseModel):
    """How fast an account sends, both slots together."""

    mode: Literal["auto", "on", "off"] = Field(
        "auto", description="auto: paced, except against an emulator. WhatsApp's refusals slow down in any case."
    )
    account_per_minute: Rate = Field(120.0, description="Messages an account sends in a minute.")
    account_burst: Count = Field(240, description="Messages it may send at once after a quiet time.")
    chat_per_minute: Rate = Field(10.0, description="Messages one recipient gets in a minute.")
    chat_burst: Count = Field(45, description="Messages a recipient may get at once after a quiet time.")


class WriterSettings(BaseModel):
    """The batched writer into the store."""

    max_documents: Count = Field(100, description="Most messages in one batch.")
    max_bytes: Count = Field(3_500_000, description="Most bytes in one batch.")
    deadline: Seconds = Field(10.0, description="Seconds one write may take.")


class FirestoreSettings(BaseModel):
    """Which database, when messages go to Firestore."""

    project: str = Field("", description="Google Cloud project. Empty: the service account's own.")
    database: str = Field("(default)", description="Database of the project.")


class ClusterSettings(BaseModel):
    """Several instances that share the accounts through Firestore."""

    mode: Literal["auto", "on", "off"] = Field(
        "auto", description="auto: on with Firestore and one of the region URLs set. on: leases even for one instance."
    )
    slots: Literal["both", "primary", "backup"] = Field("both", description="Which slots of the accounts run here.")
    placement: Literal["sticky", "spread"] = Field(
        "sticky", description="sticky: accounts stay where they are. spread: shared out among all instances."
    )
    region: str = Field("", description="Name of this instance's region. Empty: told by whose region URL is its own.")
    url: str = Field("", description="Where others find this instance's API. Empty: RAILWAY_PUBLIC_DOMAIN.")
    lease_ttl: Annotated[float, Field(ge=2, le=120)] = Field(
        10.0, description="Seconds after its last heartbeat at which an instance's leases may be taken."
    )
    settle: Seconds = Field(30.0, description="spread: seconds an instance is there before accounts move to it.")
    move_every: Seconds = Field(10.0, description="spread: seconds between two accounts that move to another place.")
    peer_interval: Seconds = Field(30.0, description="Seconds between two looks at a region URL.")
    peer_failures: Count = Field(3, description="Failed looks in a row after which a region counts as unhealthy.")


class WebhookSettings(BaseModel):
    """Telling your own application, by HTTP."""

    urls: SecretStr | None = Field(None, description="Where events are posted: https URLs, comma between them.")
    secret: SecretStr | None = Field(None, description="What webhooks are signed with: whsec_<base64>, or any text.")
    allow_private: bool = Field(default=False, description="Allow http and addresses that are not public.")
    timeout: Seconds = Field(10.0, description="Seconds a receiver has to answer.")
    max_age: Seconds = Field(86_400.0, description="Age in seconds at which a delivery that fails is given up.")
    max_waiting: Count = Field(100_000, description="Deliveries that may wait per endpoint; then the oldest give way.")


class AlertSettings(BaseModel):
    """When somebody is told that something is wrong. The counts and ratios are of the last hour."""

    disconnects_per_hour: int = Field(10, ge=0, description="More disconnects than this in an hour raise an alert.")
    rate_limits_per_hour: int = Field(5, ge=0, description="More rate limits than this in an hour raise an alert.")
    loss_ratio: Ratio = Field(0.01, description="Part of an hour's messages that may be dead letters.")
    reconnect_failure_ratio: Ratio = Field(0.2, description="Part of an hour's reconnects that may fail.")
    queue_age: Seconds = Field(120.0, description="Seconds a message may wait in a queue.")
    disk_free: Ratio = Field(0.1, description="Part of the data directory's disk that has to be free.")
    objective: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="Availability each account is to have.")
    settle: Seconds = Field(60.0, description="Seconds that a cause must be gone before its alert is over.")
    throttle: Seconds = Field(3600.0, description="Seconds between two notices of the same alert.")


class ReportSettings(BaseModel):
    """The daily report."""

    timezone: str = Field("UTC", description="Time zone whose midnight ends a day, such as Europe/Berlin.")
    send: bool = Field(default=False, description="true: each day's report goes to ALERT_URLS too.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone: write one such as UTC or Europe/Berlin") from None
        return value


class LogSettings(BaseModel):
    """Logs: one JSON line each on stdout in production, readable lines on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged. LOG_LEVEL says it too."
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json. LOG_FORMAT says it too."
    )

    @field_validator("level", "format", mode="before")
    @classmethod
    def _as_others_write_it(cls, value: object) -> object:
        written = value.lower() if isinstance(value, str) else value
        return "warning" if written == "warn" else written


class Settings(BaseSettings):
    """All of it. Built once by ``load``; raises nothing else than Misconfigured there."""

    model_config = SettingsConfigDict(
        env_prefix="TANDEM_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
    )

    port: int = Field(5002, validation_alias="PORT", ge=0, le=65535, description="Port of the API. 0: any free one.")
    data_dir: Path = Field(Path("data"), description="Queue, embedded store, session keys. On Railway: the volume.")
    allow_ephemeral: bool = Field(
        default=False, description="Run on Railway although the data directory is not on the volume."
    )
    store: Literal["auto", "sqlite", "firestore"] = Field("auto", description="Where messages end up.")
    api_token: SecretStr | None = Field(None, description="Admin token. Without it: loopback only.")
    read_token: SecretStr | None = Field(None, description="Token that may read, with numbers masked.")
    emulator: str | None = Field(None, description="host:port of a wa-emulator on loopback, instead of WhatsApp.")
    drain: Annotated[float, Field(ge=0)] = Field(
        2.0,
        description="Seconds the end may take for what is under way, beside what devices need to disconnect; what is "
        "not done by then is done at the next start.",
    )
    wait_for_directory: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Seconds to wait for another Tandem on the data directory to end, answering as passive meanwhile; "
        "0: refuse at once.",
    )
    stuck_after: Seconds = Field(30.0, description="Seconds of a stuck event loop after which the process ends (70).")
    instance: str = Field("", description="Name of this instance in logs and health. Empty: made up at start.")

    firebase_service_account: SecretStr | None = Field(
        None, validation_alias="FIREBASE_SERVICE_ACCOUNT", description="Service account, JSON or base64 of it."
    )
    google_application_credentials: Path | None = Field(
        None, validation_alias="GOOGLE_APPLICATION_CREDENTIALS", description="Path of a service account file."
    )
    firestore_emulator_host: str | None = Field(
        None, validation_alias="FIRESTORE_EMULATOR_HOST", description="host:port of the Firestore emulator."
    )
    alert_urls: SecretStr | None = Field(
        None,
        validation_alias="ALERT_URLS",
        description="Where alerts go: Apprise URLs (Slack, Discord, Telegram, mail …), separated by spaces or commas.",
    )
    use_message_batching: bool = Field(
        default=True, validation_alias="USE_MESSAGE_BATCHING", description="false: batches of one message."
    )
    primary_region_url: str = Field(
        "", validation_alias="PRIMARY_REGION_URL", description="Where the primary region's API is found."
    )
    backup_region_url: str = Field(
        "", validation_alias="BACKUP_REGION_URL", description="Where the backup region's API is found."
    )
    railway_domain: str = Field("", validation_alias="RAILWAY_PUBLIC_DOMAIN", description="Set by Railway.")
    railway_environment: str | None = Field(
        None,
        validation_alias=AliasChoices("RAILWAY_ENVIRONMENT_NAME", "RAILWAY_ENVIRONMENT"),
        description="Set by Railway; means production.",
    )
    railway_volume: Path | None = Field(
        None, validation_alias="RAILWAY_VOLUME_MOUNT_PATH", description="Set by Railway when there is a volume."
    )
    railway_commit: str = Field("", validation_alias="RAILWAY_GIT_COMMIT_SHA", description="Set by Railway.")

    api: ApiSettings = ApiSettings()
    device: DeviceSettings = DeviceSettings()
    session: SessionSettings = SessionSettings()
    queue: QueueSettings = QueueSettings()
    pacing: PacingSettings = PacingSettings()
    writer: WriterSettings = WriterSettings()
    firestore: FirestoreSettings = FirestoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    webhook: WebhookSettings = WebhookSettings()
    alert: AlertSettings = AlertSettings()
    report: ReportSettings = ReportSettings()
    log: LogSettings = LogSettings()

    @field_validator("emulator")
    @classmethod
    def _loopback_only(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host, _, port = value.rpartition(":")
        try:
            loopback = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback or not port.isdigit():
            raise ValueError("an emulator lives on this machine: write 127.0.0.1:PORT")
        return f"127.0.0.1:{port}"

    def secret_values(self) -> list[str]:
        """Every text that must never be told, however it came in."""
        lists = [secret.get_secret_value() for secret in (self.alert_urls, self.webhook.urls) if secret]
        given = (self.api_token, self.read_token, self.firebase_service_account, self.webhook.secret)
        values = [secret.get_secret_value() for secret in given if secret]
        return [*values, *lists, *(url for each in lists for url in each.replace(",", " ").split())]

    @property
    def paced(self) -> bool:
        """Whether sending is paced although WhatsApp has refused nothing: an emulator bans nobody."""
        return self.pacing.mode == "on" or (self.pacing.mode == "auto" and self.emulator is None)

    @property
    def production(self) -> bool:
        return self.railway_environment is not None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get("TANDEM_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


def load(overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the settings from environment and config file; ``overrides`` (command-line options) win.

    Raises Misconfigured, naming every wrong setting and what to do, and no value of a secret.
    """
    _refuse_unknown_names()
    path = os.environ.get("TANDEM_CONFIG")
    if path and not Path(path).is_file():
        raise Misconfigured(f"TANDEM_CONFIG names {path}, which is not a file")
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**{**_customary(), **given})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
        )
        raise Misconfigured(f"wrong settings: {problems}") from None
    except ValueError as error:
        raise Misconfigured(f"the config file cannot be read: {error}") from None


def _customary() -> dict[str, object]:
    """LOG_LEVEL and LOG_FORMAT, as many programs have them; Tandem's own names win."""
    names = {"level": "LOG_LEVEL", "format": "LOG_FORMAT"}
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    found = {
        name: environment[other]
        for name, other in names.items()
        if other in environment and f"TANDEM_LOG__{name}".upper() not in environment
    }
    return {"log": found} if found else {}


def _refuse_unknown_names() -> None:
    """A misspelt variable would silently do nothing: refuse it, with the nearest name that exists."""
    known = set(environment_names()) | {"TANDEM_CONFIG", "TANDEM_URL"}  # the latter is for the client commands
    for name in os.environ:
        if name.startswith("TANDEM_") and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Misconfigured(f"{name} is not a setting{hint}")


def environment_names() -> dict[str, str]:
    """Every environment variable that is read, with its description."""
    names: dict[str, str] = {}
    for field, info in Settings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_info in group.model_fields.items():
                names[f"TANDEM_{field}__{inner}".upper()] = inner_info.description or ""
            continue
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or f"TANDEM_{field}".upper()]
        for choice in choices:
            names[str(choice)] = info.description or ""
    return names
