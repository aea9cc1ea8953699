from __future__ import annotations

import base64
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tandem.clock import SystemClock
from tandem.errors import Misconfigured
from tandem.settings import Settings
from tandem.store.firestore.credentials import target_of
from tandem.store.firestore.store import FirestoreStore

KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
INFO = {
    "type": "service_account",
    "project_id": "fictional-project",
    "client_email": "tandem@fictional-project.iam.gserviceaccount.com",
    "private_key_id": "0123",
    "private_key": KEY,
    "token_uri": "https://oauth2.googleapis.com/token",
}
JSON = json.dumps(INFO)
SECRET = KEY.splitlines()[3]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "FIREBASE_SERVICE_ACCOUNT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "FIRESTORE_EMULATOR_HOST",
        "RAILWAY_ENVIRONMENT",
        "RAILWAY_ENVIRONMENT_NAME",
    ):
        monkeypatch.delenv(name, raising=False)


def settings(**values: Any) -> Settings:
    return Settings(**values)


def without(field: str) -> str:
    return json.dumps({name: value for name, value in INFO.items() if name != field})


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"  {JSON}\n",
        f"'{JSON}'",
        base64.b64encode(JSON.encode()).decode(),
        base64.urlsafe_b64encode(JSON.encode()).decode().rstrip("="),
        base64.encodebytes(JSON.encode()).decode(),
        json.dumps(INFO | {"private_key": KEY.replace("\n", "\\n")}),
        JSON.replace("\\n", "\n"),
        without("token_uri"),
    ],
    ids=["json", "padded", "quoted", "base64", "urlsafe", "wrapped", "literal-n", "real-breaks", "no-token-uri"],
)
def test_a_service_account_is_understood_however_it_was_pasted(text: str) -> None:
    target = target_of(settings(firebase_service_account=text))
    assert target.project == "fictional-project"
    assert target.path == "projects/fictional-project/databases/(default)"
    assert target.credentials.service_account_email == INFO["client_email"]
    assert target.credentials.signer.sign(b"x")


def test_a_file_does_as_well_and_names_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(JSON)
    target = target_of(settings(google_application_credentials=path), project="other", database="second")
    assert target.path == "projects/other/databases/second"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "there are no credentials"),
        ({"firebase_service_account": "not json"}, "neither JSON nor base64"),
        ({"firebase_service_account": JSON[:-40]}, "neither JSON nor base64"),
        ({"firebase_service_account": base64.b64encode(JSON.encode()).decode()[:-101]}, "neither JSON nor base64"),
        ({"firebase_service_account": "[1]"}, "neither JSON nor base64"),
        ({"firebase_service_account": json.dumps(INFO | {"type": "authorized_user"})}, "type authorized_user"),
        ({"firebase_service_account": json.dumps(INFO | {"type": SECRET})}, "type another"),
        ({"firebase_service_account": without("private_key")}, "lacks private_key"),
        ({"firebase_service_account": without("project_id")}, "lacks project_id"),
        ({"firebase_service_account": json.dumps(INFO | {"private_key": KEY[:300] + KEY[400:]})}, "key .* is damaged"),
        ({"google_application_credentials": JSON}, "put the JSON into FIREBASE_SERVICE_ACCOUNT"),
        ({"google_application_credentials": base64.b64encode(JSON.encode()).decode()}, "much longer than a path"),
        ({"google_application_credentials": "/nowhere/account.json"}, "names /nowhere/account.json"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(values: dict[str, str], said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as raised:
        target_of(settings(**values))
    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__context__)
    assert SECRET not in told
    assert "PRIVATE KEY" not in told
    assert raised.value.__context__ is None


def test_a_target_does_not_show_its_credentials() -> None:
    assert "redential" not in repr(target_of(settings(firebase_service_account=JSON)))


def test_an_emulator_needs_no_credentials() -> None:
    target = target_of(settings(firestore_emulator_host="127.0.0.1:8085"), project="demo-x")
    assert (target.project, target.emulator, target.credentials) == ("demo-x", "127.0.0.1:8085", None)


@pytest.mark.parametrize("account", [None, JSON])
def test_an_emulator_is_refused_in_production(account: str | None) -> None:
    here = settings(
        firestore_emulator_host="127.0.0.1:8085", railway_environment="production", firebase_service_account=account
    )
    with pytest.raises(Misconfigured, match="FIRESTORE_EMULATOR_HOST is set in production"):
        target_of(here)


async def test_a_store_of_a_service_account_opens_the_way_to_google() -> None:
    """Without a network nothing answers, which stops nobody; the point is that the channel can be built."""
    store = FirestoreStore.of(settings(firebase_service_account=JSON), SystemClock())
    store._client.connect()
    assert store._client._channel is not None
    await store.close()
