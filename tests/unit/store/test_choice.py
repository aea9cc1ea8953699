from __future__ import annotations

from pathlib import Path

import pytest

from support.virtual_time import VirtualClock
from tandem.errors import Misconfigured
from tandem.settings import load
from tandem.store.choice import choose_store


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIREBASE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "FIRESTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)


def _chosen(data: Path, **settings: object) -> str:
    store, why = choose_store(load({"data_dir": data, **settings}), VirtualClock())
    assert why
    return store.name


def test_without_credentials_the_embedded_store_is_taken(tmp_path: Path) -> None:
    assert _chosen(tmp_path) == "sqlite"


def test_an_emulator_or_credentials_mean_firestore(tmp_path: Path) -> None:
    assert _chosen(tmp_path, firestore_emulator_host="127.0.0.1:8085") == "firestore"


def test_the_embedded_store_can_be_insisted_on(tmp_path: Path) -> None:
    assert _chosen(tmp_path, store="sqlite", firestore_emulator_host="127.0.0.1:8085") == "sqlite"


def test_firestore_without_credentials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        _chosen(tmp_path, store="firestore")


def test_production_without_credentials_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="FIREBASE_SERVICE_ACCOUNT"):
        _chosen(tmp_path, railway_environment="production")
    assert _chosen(tmp_path, railway_environment="production", store="sqlite") == "sqlite"


def test_broken_credentials_are_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        _chosen(tmp_path, firebase_service_account='{"private_key": "canary-key"')
    assert "canary-key" not in str(caught.value)
