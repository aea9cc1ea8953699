"""One daemon per data directory."""

from __future__ import annotations

import fcntl
import os
from hashlib import blake2s
from pathlib import Path

from tandem.errors import DataUnusable

_PRIVATE = 0o600


class DirectoryTaken(DataUnusable):
    """Another daemon has the directory now; ``owner`` is its process id as it wrote it down, for people."""

    def __init__(self, text: str, owner: str) -> None:
        super().__init__(text)
        self.owner = owner


class DirectoryLock:
    """A lock that ends with the process, however it ends. The file holds the owner's process id, for people."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = -1

    def take(self) -> None:
        """Raise DirectoryTaken if another daemon has the directory, DataUnusable if it cannot be written.

        Taking again what is held does nothing.
        """
        if self._file >= 0:
            return
        path = self._directory / "tandem.lock"
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
        except OSError as error:
            raise DataUnusable(
                f"the data directory {self._directory} cannot be used ({error.strerror}): "
                "make it writable for this user, or name another one in TANDEM_DATA_DIR"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise DirectoryTaken(
                f"the data directory {self._directory} is used by another tandem (pid {owner}): "
                "stop that one first, or name another directory in TANDEM_DATA_DIR",
                owner,
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    @property
    def origin(self) -> str:
        """Names this very lock on this very run of this machine, while it is held.

        Two processes with the same origin did not run at the same time, for the lock did not let them.
        """
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        file = os.fstat(self._file)
        return blake2s(f"{boot} {file.st_dev} {file.st_ino}".encode(), digest_size=8).hexdigest()

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
